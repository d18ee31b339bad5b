"""All frames of a stretch of a video, one after the other, at full size and small, from one ffmpeg process.

For recipes that must look at every frame before they know what to keep: nothing is decoded twice, and no more than one frame
is held here.
"""

from collections.abc import Iterator

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decode import SCALER, check_frames, frame_choice, seek_s
from motionshards.transforms.extract.ffmpeg import RAW_OUTPUT, Running, safe_input_options
from motionshards.transforms.extract.frame_log import FrameLog
from motionshards.transforms.extract.hdr import tone_mapped
from motionshards.transforms.extract.media import INPUT, Media, arguments_for, check_result, rejecting_timeouts
from motionshards.transforms.extract.timeline import Timeline

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def stream(
    media: Media,
    timeline: Timeline,
    start: int,
    stop: int,
    small_px: tuple[int, int],
    timeout_s: float,
    *,
    full_px: tuple[int, int] | None = None,
    hdr: str = "tonemap",
    seek: bool = True,
    seen: FrameLog | None = None,
) -> Iterator[Pair]:
    """Frames [start, stop) of `timeline`: each uint8 [H,W,3] at full size, and scaled to `small_px` (width, height).

    What was given counts only when the iterator has ended: then ffmpeg has ended well, and the frames were the right ones.

    timeout_s: for all the time that ffmpeg is waited for
    full_px: width and height of the full size; None for source pixels, those of the first frame where the size changes
    hdr: as of `decode`
    seek: begin at the keyframe before `start`; False where that gave other frames
    seen: records what is known of the frames, complete when the iterator has ended

    Raises:
        ClipRejected: corrupt, frame_mismatch, no_tone_mapping, and as `run_on`
    """
    indices, full_px = np.arange(start, stop), full_px or timeline.size_px
    seen = FrameLog() if seen is None else seen
    start_s = seek_s(timeline, indices) if seek else 0
    terms, times, within_s = frame_choice(start_s, timeline, indices)
    source = seen.source(_input(start_s)["V:0"].filter("select", terms))
    if timeline.hdr and hdr == "tonemap":
        source = tone_mapped(source, untagged=timeline.untagged)
    output = _graph(source, stop - start, full_px, small_px)
    arguments = arguments_for(media, output)
    process = Running(arguments, timeout_s, descriptor=media.descriptor, memory_bytes=media.memory_bytes, take=seen.take)
    with rejecting_timeouts(timeout_s), process as running:
        yield from _frames(running, stop - start, full_px, small_px)
        check_result(media, running.result())
    sizes = check_frames(seen, timeline, times, within_s)
    if timeline.one_size and (sizes != timeline.size_px).any():
        raise ClipRejected("frame_mismatch", "frames of another size than in the header")


def _input(start_s: int) -> ffmpeg.nodes.Stream:
    return ffmpeg.input(INPUT, **safe_input_options(), **({"ss": start_s} if start_s else {}))


def _graph(
    video: ffmpeg.nodes.FilterableStream, count: int, full_px: tuple[int, int], small_px: tuple[int, int]
) -> ffmpeg.nodes.OutputStream:
    """Both sizes leave in one picture, the small one below: one pipe keeps them together."""
    both = video.filter("scale", w=full_px[0], h=full_px[1], flags=SCALER).filter("format", "rgb24").filter_multi_output("split")
    width = max(full_px[0], small_px[0])
    small = both[1].filter("scale", w=small_px[0], h=small_px[1], flags=SCALER).filter("pad", width, small_px[1])
    stacked = ffmpeg.filter([both[0].filter("pad", width, full_px[1]), small], "vstack")
    return stacked.output("pipe:1", fps_mode="passthrough", **RAW_OUTPUT, **{"frames:v": count})


def _frames(running: Running, count: int, full_px: tuple[int, int], small_px: tuple[int, int]) -> Iterator[Pair]:
    """The frames as they leave the pipe; fewer where ffmpeg ends early, which its log explains."""
    for _ in range(count):
        picture = np.empty((full_px[1] + small_px[1], max(full_px[0], small_px[0]), 3), np.uint8)
        if not running.fill(picture.data.cast("B")):
            return
        yield picture[: full_px[1], : full_px[0]], picture[full_px[1] :, : small_px[0]]
