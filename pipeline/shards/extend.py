"""Extend finished clips from their source videos: more stills, merged between the existing ones, and action units.

A sample of N stills is a subset of any larger sample, so the existing stills are unchanged. A clip whose video is missing or has
changed keeps the stills it has.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.action_units import add_action_units, reads_videos, without_action_units
from motionshards.pipeline.clips.clip import find_faces, finished
from motionshards.pipeline.clips.identity import with_identity
from motionshards.pipeline.clips.read import ReadClip
from motionshards.pipeline.clips.sequences import Sequences, sequences_for
from motionshards.pipeline.planning.provenance import check_decoder
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.shards.reread import batches, read_ahead, reread
from motionshards.schemas.action_units import ActionUnits
from motionshards.schemas.frames import Crop, Placement, SmallerFrames
from motionshards.schemas.moving import Smaller
from motionshards.schemas.records import Clip, FaceTrack, Landmarks, Quality
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.sample import sample_indices
from motionshards.transforms.extract.stored_frames import frames_of_mp4

OfFrames = TypeVar("OfFrames", Placement, FaceTrack, Landmarks, Quality)
NewStills = Callable[[Clip, BuildJob, Sequences | None], ReadClip | None]


def with_frames(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Extend each clip to the number of stills in the config, if its video has that many and can be read again.

    Action units that are computed from sequences are recomputed for all frames of the clip, since they depend on the frames
    between the stored ones.
    """
    return _with_stills(clips, job, _read_new)


def with_frames_of_video(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Like `with_frames`, but reads the stills from stored video, as far as it shows them."""
    return _with_stills(clips, job, _new_in_video)


def _with_stills(clips: Iterable[Clip], job: BuildJob, read_new: NewStills) -> Iterator[Clip]:
    check_decoder(job.ffmpeg)
    waiting: deque[tuple[Clip, Clip | None]] = deque()
    with sequences_for(job.aus, job.scratch) as sequences:
        again = sequences is not None or job.config.aus_frames == "all"

        def new_parts() -> Iterator[Clip]:
            for old, new in _built(clips, job, lambda clip: read_new(clip, job, sequences)):
                waiting.append((old, new))
                if new is not None:
                    yield merged(old, new) if again else new

        for new in add_action_units(new_parts(), job.aus, job.config, job.scratch, sequences):
            while waiting[0][1] is None:
                yield waiting.popleft()[0]
            old = waiting.popleft()[0]
            longer = new if again else merged(old, new)
            yield with_identity(longer, job.config.decode_timeout_s) if job.config.identity_embedding else longer
    yield from (old for old, _ in waiting)


def with_aus(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Add action units. A clip whose extraction fails, or whose video cannot be read again, is kept with no valid frame."""
    assert job.aus is not None, "action units come from somewhere"
    if not reads_videos(job.aus, job.config):
        yield from add_action_units(clips, job.aus, job.config, job.scratch)
        return
    check_decoder(job.ffmpeg)
    waiting: deque[tuple[Clip, ReadClip | None]] = deque()
    with sequences_for(job.aus, job.scratch) as sequences:

        def read_again() -> Iterator[Clip]:
            # The cheapest config: only the images of all frames are used.
            one_still = job.config.without_video(frames=1, min_frames=None, smaller_sizes=())
            for clip, read in read_ahead(clips, job, partial(reread, job=job, config=one_still, sequences=sequences)):
                waiting.append((clip, read))
                if read is not None:
                    yield replace(clip, every=read.every)

        for clip in add_action_units(read_again(), job.aus, job.config, job.scratch, sequences):
            while waiting[0][1] is None:
                yield _without_aus(waiting.popleft()[0], job)
            waiting.popleft()
            yield clip
    yield from (_without_aus(clip, job) for clip, _ in waiting)


def _without_aus(clip: Clip, job: BuildJob) -> Clip:
    return replace(clip, aus=without_action_units(clip, job.config))


def _built(
    clips: Iterable[Clip], job: BuildJob, read_new: Callable[[Clip], ReadClip | None]
) -> Iterator[tuple[Clip, Clip | None]]:
    """Yield each clip with its new frames as a separate clip, or None if there are none."""
    model = models.load(job.config.landmarks, job.model_options)
    for batch in batches(read_ahead(clips, job, read_new), model):
        yield from _finished(batch, model, job)


def _read_new(clip: Clip, job: BuildJob, sequences: Sequences | None) -> ReadClip | None:
    """Read the stills that the clip lacks; None if it lacks none, or they cannot be read."""
    missing = min(clip.source_frames, job.config.frames) - len(clip.jpegs)
    if not missing:
        return None
    model = models.load(job.config.landmarks, job.model_options)
    read = reread(clip, job, job.config, model=model, stored=clip.placement, sequences=sequences)
    return read if read is not None and len(read.crop) == missing else None


def _new_in_video(clip: Clip, job: BuildJob, sequences: Sequences | None) -> ReadClip | None:
    """Read the stills that the clip lacks from its stored video; None if it shows none of them.

    A clip of one span consists of consecutive frames of its file, beginning with the first frame of its video.
    """
    place, video = clip.placement, clip.video
    if video is None or not place.is_alike:
        return None
    chosen = sample_indices(clip.source_frames, job.config.frames, job.config.seed, clip.spec.key)
    missing = np.setdiff1d(int(video.source.index[0]) + chosen, place.index)
    numbers = np.searchsorted(video.source.index, missing).clip(max=len(video) - 1)
    numbers = numbers[video.source.index[numbers] == missing]
    if not len(numbers):
        return None
    alike = place.take(np.zeros(len(numbers), np.int64))
    new = replace(alike, index=video.source.index[numbers], pts_s=video.source.pts_s[numbers])

    def shown(mp4: bytes) -> NDArray[np.uint8]:
        return frames_of_mp4(mp4, numbers, job.config.decode_timeout_s)

    smaller = tuple(SmallerFrames(one.size_px, shown(one.mp4), None) for one in clip.smaller if one.mp4 is not None)
    crop = Crop(shown(video.mp4), new, clip.display)
    return ReadClip(clip.spec, crop, clip.source_frames, clip.duration_s, clip.file_frames, smaller=smaller)


def _finished(
    batch: list[tuple[Clip, ReadClip | None]], model: models.FaceModel | None, job: BuildJob
) -> Iterator[tuple[Clip, Clip | None]]:
    read = [new for _, new in batch if new is not None]
    faces = find_faces(read, model) if read and model is not None else [(None, None)] * len(read)
    new = (finished(one, found, job.config) for one, found in zip(read, faces, strict=True))
    for clip, one in batch:
        yield clip, None if one is None else next(new)


def merged(old: Clip, new: Clip) -> Clip:
    """Merge two clips with different frames of the same source, ordered by span, then by frame number."""
    span, index = (np.concatenate([getattr(one.placement, name) for one in (old, new)]) for name in ("span", "index"))
    order = np.lexsort((index, span))

    def stills(old: Clip | Smaller, new: Clip | Smaller) -> tuple[bytes, ...]:
        both = (*old.jpegs, *new.jpegs)
        return tuple(both[number] for number in order)

    return replace(
        old,
        placement=_joined(old.placement, new.placement, order),
        track=None if old.track is None or new.track is None else _joined(old.track, new.track, order),
        landmarks=None if old.landmarks is None or new.landmarks is None else _joined(old.landmarks, new.landmarks, order),
        quality=_joined(old.quality, new.quality, order),
        jpegs=stills(old, new),
        smaller=tuple(replace(one, jpegs=stills(one, more)) for one, more in zip(old.smaller, new.smaller, strict=True)),
        aus=None if old.aus is None or new.aus is None else _joined_aus(old.aus, new.aus, order),
        file_frames=new.file_frames,
        every=new.every,
    )


def _joined(old: OfFrames, new: OfFrames, order: NDArray[np.int64]) -> OfFrames:
    """Concatenate and reorder a record whose fields are all arrays over frames."""
    arrays = {field.name: np.concatenate([getattr(old, field.name), getattr(new, field.name)])[order] for field in fields(old)}
    return replace(old, **arrays)


def _joined_aus(old: ActionUnits, new: ActionUnits, order: NDArray[np.int64]) -> ActionUnits:
    return ActionUnits(
        intensity=np.concatenate([old.intensity, new.intensity])[order],
        presence=np.concatenate([old.presence, new.presence])[order],
        valid=np.concatenate([old.valid, new.valid])[order],
        confidence=np.concatenate([old.confidence, new.confidence])[order],
        files=old.files,
    )
