"""Read the source videos of finished clips again. A video that is missing or has changed yields None."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.clip import read_media
from motionshards.pipeline.clips.read import ReadClip, read_frames, search_of
from motionshards.pipeline.clips.sequences import Sequences
from motionshards.pipeline.clips.track_faces import read_tube
from motionshards.pipeline.shards.build import BuildJob
from motionshards.schemas.action_units import SourceFrames
from motionshards.schemas.config import TUBE_RECIPES, BuildConfig
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Placement
from motionshards.schemas.layout import tube_start
from motionshards.schemas.records import Clip, Rejected
from motionshards.transforms.extract.landmarks.models import FaceModel
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.sample import sample_indices
from motionshards.transforms.extract.timeline import ReadTimeline

Found = TypeVar("Found")


def read_ahead(clips: Iterable[Clip], job: BuildJob, read: Callable[[Clip], Found]) -> Iterator[tuple[Clip, Found]]:
    """Yield each clip with the result of `read`, which runs in threads, a few clips ahead of the consumer."""
    with ThreadPoolExecutor(job.decoders, thread_name_prefix="decode") as pool:
        ahead: deque[tuple[Clip, Future[Found]]] = deque()
        for clip in clips:
            ahead.append((clip, pool.submit(read, clip)))
            if len(ahead) > job.decoders + 1:
                waiting, found = ahead.popleft()
                yield waiting, found.result()
        while ahead:
            waiting, found = ahead.popleft()
            yield waiting, found.result()


def batches(
    read: Iterable[tuple[Clip, ReadClip | None]], model: FaceModel | None
) -> Iterator[list[tuple[Clip, ReadClip | None]]]:
    """Group clips into batches with enough frames for the model."""
    batch: list[tuple[Clip, ReadClip | None]] = []
    for one in read:
        batch.append(one)
        if model is None or sum(len(read.crop) for _, read in batch if read) >= model.batch_frames:
            yield batch
            batch = []
    if batch:
        yield batch


def reread(
    clip: Clip,
    job: BuildJob,
    config: BuildConfig,
    *,
    model: FaceModel | None = None,
    stored: Placement | None = None,
    sequences: Sequences | None = None,
    read_video: bool = False,
) -> ReadClip | None:
    """Read the frames that `config` samples from a clip; None if its video cannot be read or has changed.

    model, stored, sequences, read_video: as in `read_frames`
    """

    def read(timeline_of: ReadTimeline, files: dict[str, Media]) -> ReadClip:
        if config.recipe in TUBE_RECIPES:
            found = _read_tube(clip, config, timeline_of, files, model, stored, sequences, read_video=read_video)
        else:
            found = read_frames(clip.spec, job.root, files, timeline_of, model, config, stored, sequences, read_video=read_video)
        _check_same(clip, found)
        return found

    outcome = read_media(clip.spec, job.root, config, read)
    if isinstance(outcome, Rejected) and sequences is not None:
        sequences.forget(clip.spec.key)
    return None if isinstance(outcome, Rejected) else outcome


def _check_same(clip: Clip, found: ReadClip) -> None:
    """Raise ClipRejected (frame_mismatch) if the files have different frames than before."""
    assert found.every is not None, "reading a clip sets `every`"
    same = found.source_frames == clip.source_frames and clip.file_frames in ((), found.file_frames)
    if not same or not np.isin(_numbers(clip.placement), _numbers(found.every)).all():
        raise ClipRejected("frame_mismatch", f"{found.source_frames} frames, expected {clip.source_frames}")


def _numbers(frames: Placement | SourceFrames) -> NDArray[np.int64]:
    """A unique number for each frame, int64 [T], from its span and its number within the file."""
    return (frames.span.astype(np.int64) << 32) + frames.index


def _read_tube(
    clip: Clip,
    config: BuildConfig,
    timeline_of: ReadTimeline,
    files: dict[str, Media],
    model: FaceModel | None,
    stored: Placement | None,
    sequences: Sequences | None,
    *,
    read_video: bool,
) -> ReadClip:
    """Read frames of a tube, cropped by its window. Faces are detected within the window, since the track is not stored."""
    (span,), length = clip.spec.spans, clip.source_frames
    line = timeline_of(files[span.uri], config.decode_timeout_s)
    if line.size_px != span.reference_px or span.box is None:
        raise ClipRejected("frame_mismatch", "the frame size has changed")
    start = tube_start(clip.spec.key)
    if start + length > len(line.raw_s):
        raise ClipRejected("frame_mismatch", f"{len(line.raw_s)} frames, but the tube extends to {start + length}")
    indices = start + sample_indices(length, config.frames, config.seed, clip.spec.key)
    if stored is not None:
        indices = np.setdiff1d(indices, stored.index)
    return read_tube(
        files[span.uri], line, clip.spec, indices, length, config, sequences, search_of(model, config), read_video=read_video
    )
