"""More frames for clips that are stored already: only those that are new are decoded, and put between the old ones.

The sample of N frames is a part of that of more, so the old frames stay what they are. A clip whose video is gone, or is
another than it was, keeps the frames that it has.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.action_units import add_action_units
from motionshards.pipeline.clips.clip import find_faces, finished, read_media
from motionshards.pipeline.clips.identity import with_identity
from motionshards.pipeline.clips.read import ReadClip, new_indices, read_frames
from motionshards.pipeline.clips.track_faces import tube_crop
from motionshards.pipeline.planning.provenance import check_decoder
from motionshards.pipeline.shards.build import BuildJob
from motionshards.schemas.action_units import ActionUnits
from motionshards.schemas.config import TUBE_RECIPES
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Placement
from motionshards.schemas.layout import tube_start
from motionshards.schemas.records import Clip, FaceTrack, Landmarks, Quality, Rejected
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import ReadTimeline

OfFrames = TypeVar("OfFrames", Placement, FaceTrack, Landmarks, Quality)


def with_frames(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Each clip with as many frames as the config says, as far as its video has them and can be read again."""
    check_decoder(job.ffmpeg)
    waiting: deque[tuple[Clip, Clip | None]] = deque()

    def new_parts() -> Iterator[Clip]:
        for old, new in _built(clips, job):
            waiting.append((old, new))
            if new is not None:
                yield new

    for new in add_action_units(new_parts(), job.aus, job.scratch):
        while waiting[0][1] is None:
            yield waiting.popleft()[0]
        longer = merged(waiting.popleft()[0], new)
        yield with_identity(longer) if job.config.identity_embedding else longer
    yield from (old for old, _ in waiting)


def _built(clips: Iterable[Clip], job: BuildJob) -> Iterator[tuple[Clip, Clip | None]]:
    """The clips, each with its new frames as a clip of its own, None where there are none."""
    model = models.load(job.config.landmarks, job.model_options)
    batch: list[tuple[Clip, ReadClip | None]] = []
    for clip, read in _read_ahead(clips, job):
        batch.append((clip, read))
        if model is None or sum(len(one.crop) for _, one in batch if one) >= model.batch_frames:
            yield from _finished(batch, model, job)
            batch = []
    yield from _finished(batch, model, job)


def _read_ahead(clips: Iterable[Clip], job: BuildJob) -> Iterator[tuple[Clip, ReadClip | None]]:
    """The clips with their new frames, None where there are none, decoded a few ahead of the consumer."""
    with ThreadPoolExecutor(job.decoders, thread_name_prefix="decode") as pool:
        ahead: deque[tuple[Clip, Future[ReadClip | None]]] = deque()
        for clip in clips:
            ahead.append((clip, pool.submit(_read_new, clip, job)))
            if len(ahead) > job.decoders + 1:
                waiting, read = ahead.popleft()
                yield waiting, read.result()
        while ahead:
            waiting, read = ahead.popleft()
            yield waiting, read.result()


def _read_new(clip: Clip, job: BuildJob) -> ReadClip | None:
    if len(clip.jpegs) >= min(clip.source_frames, job.config.frames):
        return None
    read = read_media(clip.spec, job.root, job.config, lambda timeline_of, files: _frames(clip, job, timeline_of, files))
    return None if isinstance(read, Rejected) else read


def _frames(clip: Clip, job: BuildJob, timeline_of: ReadTimeline, files: dict[str, Media]) -> ReadClip:
    """The new frames. Raises ClipRejected: as a build, or frame_mismatch where the video is not the one that was read before."""
    stored = len(clip.jpegs)
    if job.config.recipe in TUBE_RECIPES:
        read = _tube_frames(clip, job, timeline_of, files)
    else:
        model = models.load(job.config.landmarks, job.model_options)
        read = read_frames(clip.spec, job.root, files, timeline_of, model, job.config, stored)
    old, new = clip.placement, read.crop.placement
    met = set(zip(old.span.tolist(), old.index.tolist(), strict=True)) & set(
        zip(new.span.tolist(), new.index.tolist(), strict=True)
    )
    if met or read.source_frames != clip.source_frames:
        raise ClipRejected("frame_mismatch", f"{read.source_frames} frames, there were {clip.source_frames}")
    return read


def _tube_frames(clip: Clip, job: BuildJob, timeline_of: ReadTimeline, files: dict[str, Media]) -> ReadClip:
    """The new frames of a tube, cut by its window. Their faces are searched in the crop, as the tube itself is gone."""
    (span,), config = clip.spec.spans, job.config
    line = timeline_of(files[span.uri], config.decode_timeout_s)
    if line.size_px != span.reference_px or span.box is None:
        raise ClipRejected("frame_mismatch", "frames of another size than before")
    indices = tube_start(clip.spec.key) + new_indices(clip.source_frames, len(clip.jpegs), clip.spec.key, config)
    if indices[-1] >= len(line.raw_s):
        raise ClipRejected("frame_mismatch", f"{len(line.raw_s)} frames, the tube goes to {indices[-1] + 1}")
    crop, whole = tube_crop(files[span.uri], line, clip.spec, indices, config), (len(line.raw_s),)
    return ReadClip(clip.spec, crop, clip.source_frames, clip.duration_s, whole, clip.past_end_s)


def _finished(
    batch: list[tuple[Clip, ReadClip | None]], model: models.FaceModel | None, job: BuildJob
) -> Iterator[tuple[Clip, Clip | None]]:
    read = [new for _, new in batch if new is not None]
    faces = find_faces(read, model) if read and model is not None else [(None, None)] * len(read)
    new = (finished(one, found, points, job.config) for one, (found, points) in zip(read, faces, strict=True))
    for clip, one in batch:
        yield clip, None if one is None else next(new)


def merged(old: Clip, new: Clip) -> Clip:
    """Two clips of different frames of the same source as one: by span, then by number of the frame."""
    span, index = (np.concatenate([getattr(one.placement, name) for one in (old, new)]) for name in ("span", "index"))
    order = np.lexsort((index, span))
    jpegs = (*old.jpegs, *new.jpegs)
    return replace(
        old,
        placement=_joined(old.placement, new.placement, order),
        track=None if old.track is None or new.track is None else _joined(old.track, new.track, order),
        landmarks=None if old.landmarks is None or new.landmarks is None else _joined(old.landmarks, new.landmarks, order),
        quality=_joined(old.quality, new.quality, order),
        jpegs=tuple(jpegs[number] for number in order),
        aus=None if old.aus is None or new.aus is None else _joined_aus(old.aus, new.aus, order),
        file_frames=new.file_frames,
    )


def _joined(old: OfFrames, new: OfFrames, order: NDArray[np.int64]) -> OfFrames:
    """A record of which every field is an array over frames."""
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
