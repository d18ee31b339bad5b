"""What finished clips get from their videos, read again: more frames, put between the old ones, and action units of sequences.

The sample of N frames is a part of that of more, so the old frames stay what they are. A clip whose video is gone, or is
another than it was, keeps the frames that it has.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.action_units import add_action_units, reads_videos, without_action_units
from motionshards.pipeline.clips.clip import find_faces, finished, read_media
from motionshards.pipeline.clips.identity import with_identity
from motionshards.pipeline.clips.read import ReadClip, new_indices, read_frames, search_of
from motionshards.pipeline.clips.sequences import Sequences, sequences_for
from motionshards.pipeline.clips.track_faces import read_tube
from motionshards.pipeline.planning.provenance import check_decoder
from motionshards.pipeline.shards.build import BuildJob
from motionshards.schemas.action_units import ActionUnits
from motionshards.schemas.config import TUBE_RECIPES, BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Placement
from motionshards.schemas.layout import tube_start
from motionshards.schemas.records import Clip, FaceTrack, Landmarks, Quality, Rejected
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import ReadTimeline

OfFrames = TypeVar("OfFrames", Placement, FaceTrack, Landmarks, Quality)
Reread = Callable[[Clip], ReadClip | None]


def with_frames(clips: Iterable[Clip], job: BuildJob) -> Iterator[Clip]:
    """Each clip with as many frames as the config says, as far as its video has them and can be read again.

    Where action units are computed from sequences, those of all frames of the clip are computed again: they depend on the frames
    between the stored ones, which are decoded anyway.
    """
    check_decoder(job.ffmpeg)
    waiting: deque[tuple[Clip, Clip | None]] = deque()
    with sequences_for(job.aus, job.scratch) as sequences:
        again = sequences is not None or job.config.aus_frames == "all"

        def new_parts() -> Iterator[Clip]:
            for old, new in _built(clips, job, partial(_read_new, job=job, sequences=sequences)):
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
    """Action units. A clip that is lost to their source, or whose video cannot be read again, is kept with no valid frame."""
    assert job.aus is not None, "action units come from somewhere"
    if not reads_videos(job.aus, job.config):
        yield from add_action_units(clips, job.aus, job.config, job.scratch)
        return
    check_decoder(job.ffmpeg)
    waiting: deque[tuple[Clip, ReadClip | None]] = deque()
    with sequences_for(job.aus, job.scratch) as sequences:

        def read_again() -> Iterator[Clip]:
            for clip, read in _read_ahead(clips, job, partial(_reread, job=job, stored=0, sequences=sequences)):
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


def _built(clips: Iterable[Clip], job: BuildJob, read_new: Reread) -> Iterator[tuple[Clip, Clip | None]]:
    """The clips, each with its new frames as a clip of its own, None where there are none."""
    model = models.load(job.config.landmarks, job.model_options)
    batch: list[tuple[Clip, ReadClip | None]] = []
    for clip, read in _read_ahead(clips, job, read_new):
        batch.append((clip, read))
        if model is None or sum(len(one.crop) for _, one in batch if one) >= model.batch_frames:
            yield from _finished(batch, model, job)
            batch = []
    yield from _finished(batch, model, job)


def _read_ahead(clips: Iterable[Clip], job: BuildJob, reread: Reread) -> Iterator[tuple[Clip, ReadClip | None]]:
    """The clips with what `reread` gives of them, decoded a few ahead of the consumer."""
    with ThreadPoolExecutor(job.decoders, thread_name_prefix="decode") as pool:
        ahead: deque[tuple[Clip, Future[ReadClip | None]]] = deque()
        for clip in clips:
            ahead.append((clip, pool.submit(reread, clip)))
            if len(ahead) > job.decoders + 1:
                waiting, read = ahead.popleft()
                yield waiting, read.result()
        while ahead:
            waiting, read = ahead.popleft()
            yield waiting, read.result()


def _read_new(clip: Clip, job: BuildJob, sequences: Sequences | None) -> ReadClip | None:
    """The frames that the clip lacks; None where it lacks none, or they cannot be read."""
    if len(clip.jpegs) >= min(clip.source_frames, job.config.frames):
        return None
    return _reread(clip, job, len(clip.jpegs), sequences)


def _reread(clip: Clip, job: BuildJob, stored: int, sequences: Sequences | None) -> ReadClip | None:
    """The sampled frames behind the first `stored`; None where the video cannot be read, or is another one than before."""
    read = read_media(
        clip.spec,
        job.root,
        job.config,
        lambda timeline_of, files: _frames(clip, job, timeline_of, files, stored, sequences),
    )
    if isinstance(read, Rejected) and sequences is not None:
        sequences.forget(clip.spec.key)
    return None if isinstance(read, Rejected) else read


def _frames(
    clip: Clip, job: BuildJob, timeline_of: ReadTimeline, files: dict[str, Media], stored: int, sequences: Sequences | None
) -> ReadClip:
    """See `_reread`. Raises ClipRejected: as a build, or frame_mismatch where the video is another one."""
    # Without `stored` ones it is the clip's own frames that are read again, which may be fewer than the config says.
    config = job.config if stored else replace(job.config, frames=len(clip.jpegs), min_frames=None)
    model = models.load(config.landmarks, job.model_options) if stored else None
    if config.recipe in TUBE_RECIPES:
        read = _tube_frames(clip, config, timeline_of, files, model, stored, sequences)
    else:
        read = read_frames(clip.spec, job.root, files, timeline_of, model, config, stored, sequences)
    old, new = _places(clip.placement), _places(read.crop.placement)
    if read.source_frames != clip.source_frames or (old & new if stored else old != new):
        raise ClipRejected("frame_mismatch", f"{read.source_frames} frames, there were {clip.source_frames}")
    return read


def _places(placement: Placement) -> set[tuple[int, int]]:
    return set(zip(placement.span.tolist(), placement.index.tolist(), strict=True))


def _tube_frames(
    clip: Clip,
    config: BuildConfig,
    timeline_of: ReadTimeline,
    files: dict[str, Media],
    model: models.FaceModel | None,
    stored: int,
    sequences: Sequences | None,
) -> ReadClip:
    """Frames of a tube, cut by its window. Faces in new ones are searched within the window, as the tube itself is gone."""
    (span,), length = clip.spec.spans, clip.source_frames
    line = timeline_of(files[span.uri], config.decode_timeout_s)
    if line.size_px != span.reference_px or span.box is None:
        raise ClipRejected("frame_mismatch", "frames of another size than before")
    start = tube_start(clip.spec.key)
    if start + length > len(line.raw_s):
        raise ClipRejected("frame_mismatch", f"{len(line.raw_s)} frames, the tube goes to {start + length}")
    indices = start + new_indices(length, stored, clip.spec.key, config)
    read = read_tube(files[span.uri], line, clip.spec, indices, length, config, sequences, search_of(model, config))
    return replace(read, duration_s=clip.duration_s, past_end_s=clip.past_end_s)


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
        every=new.every,
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
