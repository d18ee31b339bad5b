"""A file that ffmpeg reads, and how each way in which ffmpeg can fail on it becomes a reason code."""

import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.ffmpeg import MEMORY_BYTES, FfmpegResult, run_ffmpeg

if TYPE_CHECKING:
    from motionshards.transforms.extract.decoder.client import Decoder

# What stands for the file in ffmpeg-python's graphs, which cannot take names that are not UTF-8.
INPUT = "file:INPUT"
_OUT_OF_MEMORY = re.compile(
    r"\[(?:error|fatal|panic)\].*(?:Cannot allocate memory|Out of memory|Failed to allocate|thread_encoder_init failed)", re.I
)


@dataclass(frozen=True, slots=True)
class Media:
    """A video file, on disk or in memory.

    path: what ffmpeg opens
    name: what messages call it: no directories, since what is written must not depend on where the input lies
    descriptor: of a file in memory, whose path is /dev/fd/<descriptor>; ffmpeg inherits it
    memory_bytes: what ffmpeg may take while it reads the file
    decoder: that carries out all orders for it; None for one each
    """

    path: str
    name: str
    descriptor: int | None = None
    memory_bytes: int = MEMORY_BYTES
    decoder: "Decoder | None" = field(default=None, compare=False, repr=False)

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> "Media":
        """The file at a path."""
        return cls(os.fspath(path), os.path.basename(path))

    @classmethod
    def of_descriptor(cls, descriptor: int, name: str) -> "Media":
        """An open file without a path, such as one made by memfd_create."""
        return cls(f"/dev/fd/{descriptor}", name, descriptor)


def check_file(path: str) -> None:
    """Raise ClipRejected for what is not a readable, regular file with bytes in it."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ClipRejected("not_a_file", os.path.basename(path))
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ClipRejected("unreadable", error.strerror or str(error)) from error
    if status.st_size == 0:
        raise ClipRejected("empty_file")


def arguments_for(media: Media, output: ffmpeg.nodes.OutputStream) -> list[str]:
    """The arguments of ffmpeg for a graph whose input is `INPUT`."""
    return [f"file:{media.path}" if argument == INPUT else argument for argument in output.get_args()]


def run_on(
    media: Media,
    output: ffmpeg.nodes.OutputStream,
    timeout_s: float,
    *,
    take: Callable[[str], bool] | None = None,
    put: Callable[[bytes], None] | None = None,
) -> FfmpegResult:
    """Run a graph on a file. Arguments as of `run_ffmpeg`. Raises ClipRejected: see `check_result`; decode_timeout."""
    arguments, memory_bytes = arguments_for(media, output), media.memory_bytes
    with rejecting_timeouts(timeout_s):
        result = run_ffmpeg(arguments, timeout_s, descriptor=media.descriptor, memory_bytes=memory_bytes, take=take, put=put)
    check_result(media, result)
    return result


@contextmanager
def rejecting_timeouts(timeout_s: float) -> Iterator[None]:
    """Raise ClipRejected (decode_timeout) where ffmpeg was waited for too long."""
    try:
        yield
    except subprocess.TimeoutExpired:
        raise ClipRejected("decode_timeout", f"longer than {timeout_s:g} s") from None


def check_result(media: Media, result: FfmpegResult) -> None:
    """Raise ClipRejected where ffmpeg failed: too_much_memory, decoder_killed, no_video_stream, not_a_video, corrupt."""
    if result.returncode == 0:
        return
    if _OUT_OF_MEMORY.search(result.log):
        raise ClipRejected("too_much_memory", f"more than {media.memory_bytes >> 20} MB")
    # ffmpeg catches polite signals and ends with 255.
    signals = re.findall(r"received signal (\d+)", result.log) or [str(-result.returncode)] * (result.returncode < 0)
    if signals:
        raise ClipRejected("decoder_killed", f"signal {signals[0]}")
    printed = os.fsencode(media.path).decode(errors="replace")  # as the log was decoded
    said = result.errors().replace(printed, media.name)
    raise ClipRejected(_failure(result), said or f"ffmpeg ended with {result.returncode}")


def _failure(result: FfmpegResult) -> str:
    """The reason code of a failed run, from what ffmpeg says and how far it came."""
    if "matches no streams" in result.log:
        return "no_video_stream"
    if "misdetection possible" in result.log:  # nothing but the file's name looks like a video
        return "not_a_video"
    if re.search(r"^\[info\] Input #0", result.log, re.M) or "moov atom not found" in result.log:
        return "corrupt"
    return "not_a_video"
