"""Muxes the stored video and sound of a clip into one file for players. Packets are copied without encoding."""

import heapq
import io
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import av

# Files are untrusted: probing must not decode them.
_READ = {"codec_whitelist": "none"}
_WRITE = {"movflags": "+faststart", "fflags": "+bitexact"}


def playable(mp4: bytes, flac: bytes | None, most_bytes: int | None = None) -> tuple[bytes, int]:
    """An mp4 of the stored video with its sound as FLAC, and its number of frames.

    most_bytes: limit for the total size of packets; the file is truncated there

    Raises:
        ValueError: a member is damaged or of another format
    """
    target, frames = io.BytesIO(), 0

    def again(*_: Any) -> io.BytesIO:
        """To move the index to the front, FFmpeg reads its output through another handle."""
        return io.BytesIO(target.getvalue())

    members = [("mov", mp4), *([("flac", flac)] if flac is not None else [])]
    try:
        with ExitStack() as stack:
            sources = [stack.enter_context(av.open(io.BytesIO(one), format=name, options=_READ)) for name, one in members]
            file = stack.enter_context(av.open(target, "w", format="mp4", options=_WRITE, io_open=again))
            pairs = [(source, file.add_stream_from_template(source.streams[0])) for source in sources]
            for packet in _within(heapq.merge(*(_packets(*pair) for pair in pairs), key=_seconds), most_bytes):
                frames += packet.stream is pairs[0][1]
                file.mux_one(packet)
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise ValueError(f"the video cannot be copied: {error}") from error
    if not frames:
        raise ValueError("the video cannot be copied: it has no frames")
    return target.getvalue(), frames


def _packets(source: Any, stream: Any) -> Iterator[Any]:
    """The packets of a file's only stream, reassigned to another stream."""
    for packet in source.demux(source.streams[0]):
        if packet.dts is not None:  # the last one is empty
            packet.stream = stream
            yield packet


def _seconds(packet: Any) -> float:
    return float(packet.dts * packet.time_base)


def _within(packets: Iterator[Any], most_bytes: int | None) -> Iterator[Any]:
    """The first packets whose total size is at most `most_bytes`."""
    total = 0
    for packet in packets:
        total += packet.size
        if most_bytes is not None and total > most_bytes:
            return
        yield packet
