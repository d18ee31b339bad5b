"""Limits for `benchmarks.export`: the same work with the fewest calls, on clips in memory, in warm processes.

Nothing is looked up, checked, renamed or recorded. Results are written to files.
"""

import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import av
import simplejpeg
from av.video.reformatter import Interpolation, VideoReformatter

from motionshards.dataset.export.run import DEFAULT_CRF
from motionshards.transforms.extract.decoder.stored.encode import X264_OPTIONS

_RATE = Fraction(25)


@dataclass(frozen=True, slots=True)
class Work:
    """The work on each mp4. size_px: size of the result; files: directory for the results"""

    kind: str
    size_px: int
    files: Path


def measure_limit(mp4s: Sequence[bytes], work: Work, processes: int) -> tuple[float, float]:
    """Clips per second of `processes` processes, from when all are ready until the last is done, and CPU seconds per clip."""
    context = get_context("spawn")
    barrier = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, initializer=_keep, initargs=(barrier,)) as pool:
        spans = list(pool.map(partial(_timed, work), (mp4s[part::processes] for part in range(processes))))
    starts, ends, cpu_s = zip(*spans, strict=True)
    return len(mp4s) / (max(ends) - min(starts)), sum(cpu_s) / len(mp4s)


def encoded_png(mp4: bytes, work: Work) -> list[bytes]:
    """All frames as PNG, with the encoder options of exports."""
    codec = av.VideoCodecContext.create("png", "w")
    codec.height = codec.width = work.size_px
    codec.pix_fmt, codec.time_base, codec.thread_count = "rgb24", 1 / _RATE, 1
    codec.options = {"compression_level": "1", "pred": "paeth"}
    frames = map(_scaler(work.size_px, "rgb24"), _decoded(mp4))
    return [bytes(packet) for frame in frames for packet in codec.encode(frame)]


def encoded_jpg(mp4: bytes, work: Work) -> list[bytes]:
    """All frames as JPEG."""
    arrays = (frame.to_ndarray() for frame in map(_scaler(work.size_px, "rgb24"), _decoded(mp4)))
    return [simplejpeg.encode_jpeg(rgb, quality=95, colorsubsampling="420") for rgb in arrays]


def encoded_mp4(mp4: bytes, work: Work) -> list[bytes]:
    """A video of another size."""
    return _encode(work, map(_scaler(work.size_px, "yuv420p"), _decoded(mp4)))


def encoded_rgb(mp4: bytes, work: Work) -> list[bytes]:
    """A video encoded from RGB frames, resampled as cheaply as aligned ones."""
    frames = map(_scaler(work.size_px, "rgb24", Interpolation.FAST_BILINEAR), _decoded(mp4))
    again = (av.VideoFrame.from_ndarray(frame.to_ndarray(), format="rgb24") for frame in frames)
    return _encode(work, map(_scaler(work.size_px, "yuv420p"), again))


def copied(mp4: bytes, work: Work) -> list[bytes]:
    """The same bytes."""
    return [mp4]


KINDS: dict[str, Callable[[bytes, Work], list[bytes]]] = {
    "png": encoded_png,
    "jpg": encoded_jpg,
    "mp4": encoded_mp4,
    "rgb": encoded_rgb,
    "copy": copied,
}


def _keep(barrier: Barrier) -> None:
    globals()["_ready"] = barrier


def _timed(work: Work, mp4s: Sequence[bytes]) -> tuple[float, float, float]:
    done = KINDS[work.kind]
    done(mp4s[0], work)  # warm-up
    globals()["_ready"].wait()
    start, cpu_s = time.monotonic(), time.process_time()
    for number, mp4 in enumerate(mp4s):
        folder = work.files / f"{os.getpid()}-{number}"
        folder.mkdir()
        for place, content in enumerate(done(mp4, work)):
            (folder / f"{place:06d}").write_bytes(content)
    return start, time.monotonic(), time.process_time() - cpu_s


def _decoded(mp4: bytes) -> Iterator[av.VideoFrame]:
    with av.open(io.BytesIO(mp4), "r") as container:
        container.streams.video[0].thread_count = 1
        yield from container.decode(video=0)


def _scaler(size_px: int, pix_fmt: str, interpolation: Interpolation = Interpolation.LANCZOS) -> Callable[..., av.VideoFrame]:
    """A function that scales frames; prepared once, whereas `VideoFrame.reformat` prepares for each frame."""
    return partial(
        VideoReformatter().reformat, width=size_px, height=size_px, format=pix_fmt, interpolation=interpolation, threads=1
    )


def _encode(work: Work, frames: Iterator[av.VideoFrame]) -> list[bytes]:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", _RATE, options={**X264_OPTIONS, "crf": str(DEFAULT_CRF)})
        stream.width = stream.height = work.size_px
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, 1 / _RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return [target.getvalue()]
