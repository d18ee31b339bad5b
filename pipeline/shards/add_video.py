"""Add continuous video and audio to finished clips, read from their source videos, and measures of stored audio."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from motionshards.pipeline.clips.clip import find_faces, read_media, rows_beside_stills
from motionshards.pipeline.clips.read import ReadClip
from motionshards.pipeline.clips.sound import clip_sound
from motionshards.pipeline.clips.video import stored_video
from motionshards.pipeline.planning.provenance import check_decoder
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.shards.reread import batches, read_ahead, reread
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.moving import Smaller, StoredSound
from motionshards.schemas.records import Clip, FaceTrack, Landmarks, Rejected
from motionshards.transforms.extract.encode import encode_jpegs
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.models import FaceModel
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.sound import flac_samples
from motionshards.transforms.extract.speech import speech_share
from motionshards.transforms.extract.timeline import ReadTimeline

_SAME_TIME_S = 1e-6


def with_video(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Add video and audio to stills. A clip whose stills cannot be reproduced byte for byte from its source gets none."""
    check_decoder(job.ffmpeg)
    model = models.load(job.config.landmarks, job.model_options)
    for batch in batches(read_ahead(clips, job, partial(_read_video, job=job, model=model)), model):
        read = [one for _, one in batch if one is not None]
        faces = iter(find_faces(read, model) if read and model is not None else [(None, None)] * len(read))
        for clip, one in batch:
            yield clip if one is None else _with_video(clip, one, *next(faces), config=job.config)


def _read_video(clip: Clip, job: BuildJob, model: FaceModel | None) -> ReadClip | None:
    """The measured frames of the video as a separate clip; None if the clip already has a video, or cannot get one."""
    if clip.video is not None:
        return None
    config = replace(job.config, frames=len(clip.jpegs), min_frames=None)
    read = reread(clip, job, config, model=model, read_video=True)
    if read is None or encode_jpegs(read.crop.rgb, config.jpeg_quality) != clip.jpegs:
        return None
    return rows_beside_stills(read)


def _with_video(clip: Clip, read: ReadClip, track: FaceTrack | None, points: Landmarks | None, config: BuildConfig) -> Clip:
    assert read.video is not None, "the video was read"
    video = stored_video(replace(read.video, rows=read.crop), config, track, points)
    return _with_sound(replace(clip, video=video, smaller=_with_mp4(clip, read)), read.sound)


def _with_mp4(clip: Clip, read: ReadClip) -> tuple[Smaller, ...]:
    """The smaller sizes of a clip, with the video that was read at each size."""
    videos = {one.size_px: one.video for one in read.smaller if one.video is not None}
    return tuple(replace(one, mp4=videos[one.size_px].mp4) for one in clip.smaller)


def with_audio(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Add audio to stored video. A clip whose source cannot be read again, or has changed, gets none."""
    check_decoder(job.ffmpeg)
    for clip, sound in read_ahead(clips, job, partial(_read_sound, job=job)):
        yield _with_sound(clip, sound)


def _read_sound(clip: Clip, job: BuildJob) -> StoredSound | str | None:
    """Read the audio that the clip lacks. Returns a reason code if it cannot be read, None if the source has no audio."""
    if clip.video is None or clip.sound is not None:
        return clip.sound
    found = read_media(clip.spec, job.root, job.config, partial(_sound_of, clip, job.config))
    return found.reason if isinstance(found, Rejected) else found


def _sound_of(clip: Clip, config: BuildConfig, timeline_of: ReadTimeline, files: dict[str, Media]) -> StoredSound | str | None:
    assert clip.video is not None, "sound is stored with video"
    source, stretches = clip.video.source, []
    for number, span in enumerate(clip.spec.spans):
        if (of_span := source.span == number).any():
            index, line = source.index[of_span], timeline_of(files[span.uri], config.decode_timeout_s)
            is_same = index[-1] < len(line.pts_s) and len(line.pts_s) == clip.file_frames[number]
            if not is_same or np.abs(line.pts_s[index] - source.pts_s[of_span]).max() > _SAME_TIME_S:
                raise ClipRejected("frame_mismatch", f"{span.uri} has different frames than before")
            stretches.append((files[span.uri], float(line.raw_s[index[0]]), len(index)))
    return clip_sound(stretches, clip.video.rate, config)


def with_speech(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Add the fraction of speech in stored audio."""
    for clip in clips:
        if (sound := clip.sound) is not None:
            share = speech_share(flac_samples(sound.flac, job.config.decode_timeout_s))
            clip = replace(clip, sound=replace(sound, level=replace(sound.level, speech=share)))
        yield clip


def _with_sound(clip: Clip, sound: StoredSound | str | None) -> Clip:
    stored = sound if isinstance(sound, StoredSound) else None
    return replace(clip, sound=stored, sound_lost=sound if isinstance(sound, str) else None)
