"""All frames of a stretch of a video, one after the other, at full size and small, from one ffmpeg process.

For recipes that must look at every frame before they know what to keep: nothing is decoded twice, and no more than one frame
is held here.
"""

import fcntl
import os
import select
import subprocess
import time
from collections.abc import Iterator

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from schemas.errors import ClipRejected
from transforms.extract.decode import SCALER, check_frames, frame_choice, seek_s
from transforms.extract.ffmpeg import FfmpegResult, command, safe_input_options
from transforms.extract.media import INPUT, Media, arguments_for, check_result
from transforms.extract.timeline import Timeline

_PIPE_BYTES = 1 << 20

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def stream(
    media: Media, timeline: Timeline, start: int, stop: int, small_px: tuple[int, int], timeout_s: float, *, seek: bool = True
) -> Iterator[Pair]:
    """Frames [start, stop) of `timeline`: each uint8 [H,W,3] in source pixels, and scaled to `small_px` (width, height).

    What was given counts only when the iterator has ended: then ffmpeg has ended well, and the frames were the right ones.

    timeout_s: for all the time that ffmpeg is waited for
    seek: begin at the keyframe before `start`; False where that gave other frames

    Raises:
        ClipRejected: corrupt, frame_mismatch, decode_timeout, decoder_killed
    """
    indices = np.arange(start, stop)
    start_s = seek_s(timeline, indices) if seek else 0
    terms, times, within_s = frame_choice(start_s, timeline, indices)
    output = _graph(start_s, terms, stop - start, timeline.size_px, small_px)
    log = os.memfd_create("log")
    process = subprocess.Popen(
        command(arguments_for(media, output)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        pass_fds=() if media.descriptor is None else (media.descriptor,),
    )
    try:
        yield from _frames(process, stop - start, timeline.size_px, small_px, timeout_s)
        check_result(media, _result(process, log))
        sizes = check_frames(_result(process, log), times, within_s)
    finally:
        process.kill()
        process.communicate()
        os.close(log)
    if (sizes != timeline.size_px).any():
        raise ClipRejected("frame_mismatch", "frames of another size than the header tells")


def _graph(
    start_s: int, terms: str, count: int, size_px: tuple[int, int], small_px: tuple[int, int]
) -> ffmpeg.nodes.OutputStream:
    """Both sizes leave in one picture, the small one below: one pipe keeps them together."""
    options = {**safe_input_options(), **({"ss": start_s} if start_s else {})}
    video = ffmpeg.input(INPUT, **options)["V:0"].filter("select", terms).filter("showinfo@source", checksum=0)
    both = video.filter("scale", w="iw", h="ih", flags=SCALER).filter("format", "rgb24").filter_multi_output("split")
    width = max(size_px[0], small_px[0])
    small = both[1].filter("scale", w=small_px[0], h=small_px[1], flags=SCALER).filter("pad", width, small_px[1])
    stacked = ffmpeg.filter([both[0].filter("pad", width, size_px[1]), small], "vstack")
    return stacked.output("pipe:1", format="rawvideo", pix_fmt="rgb24", fps_mode="passthrough", **{"frames:v": count})


def _frames(
    process: "subprocess.Popen[bytes]", count: int, size_px: tuple[int, int], small_px: tuple[int, int], timeout_s: float
) -> Iterator[Pair]:
    """The frames as they leave the pipe; fewer where ffmpeg ends early, which its log explains."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    left_s = timeout_s
    for _ in range(count):
        picture = np.empty((size_px[1] + small_px[1], max(size_px[0], small_px[0]), 3), np.uint8)
        filled, left_s = _fill(pipe, picture.data.cast("B"), left_s)
        if left_s <= 0:
            raise ClipRejected("decode_timeout", f"longer than {timeout_s:g} s")
        if not filled:
            return
        yield picture[: size_px[1], : size_px[0]], picture[size_px[1] :, : small_px[0]]


def _fill(pipe: int, buffer: memoryview, left_s: float) -> tuple[bool, float]:
    """Read until the buffer is full: whether it is, and what is left of the time."""
    while buffer:
        begun = time.monotonic()
        ready = select.select([pipe], [], [], max(0.0, left_s))[0]
        left_s -= time.monotonic() - begun
        if not ready or left_s <= 0:
            return False, min(left_s, 0.0)
        count = os.readv(pipe, [buffer])
        if not count:
            return False, left_s
        buffer = buffer[count:]
    return True, left_s


def _result(process: "subprocess.Popen[bytes]", log: int) -> FfmpegResult:
    """How ffmpeg ended. It has closed its output or given all frames, so it ends soon."""
    process.wait()
    return FfmpegResult(process.returncode, b"", os.pread(log, os.fstat(log).st_size, 0).decode("utf-8", "replace"))
