"""A video read by FFmpeg's libraries from a descriptor: no file is opened by name, no other protocol is allowed."""

import logging
import os
import re
import resource
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import Flags
from av.format import Flags as FormatFlags
from av.stream import Discard, Disposition

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder.clocks import Clock, move
from motionshards.transforms.extract.decoder.limits import CONTAINERS, MAX_PIXELS

_DECODER_OPTIONS = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS), "threads": "1"}
_OPTIONS = {**_DECODER_OPTIONS, "protocol_whitelist": "fd", "format_whitelist": CONTAINERS}
# How far FFmpeg steps back from the requested time in containers that seek by decoding times.
_REORDERED_US = 3 * 1_000_000 // 23
_KEPT_LINES = 50
_GEN_PTS: Any = Flags.gen_pts.value
_TS_DISCONT: Any = FormatFlags.ts_discont.value
_NEAR = 0.85
# PyAV raises the latter two for values that it cannot convert.
_OF_FFMPEG = (av.FFmpegError, ValueError, ArithmeticError)


class _Log(logging.Handler):
    """Keeps the first lines that FFmpeg logs; a file can make it log without end."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < _KEPT_LINES:
            self.lines.append((record.levelno, f"{record.name.removeprefix('libav.')}: {record.getMessage()}"))

    def errors(self) -> str:
        return "; ".join(dict.fromkeys(line for level, line in self.lines if level >= logging.ERROR))[:500]

    def contains(self, *words: str) -> bool:
        return any(word in line for _, line in self.lines for word in words)


class Video:
    """The first video stream of a file; `base` is the length of its ticks in seconds.

    Args:
        container: FFmpeg's name of the demuxer; None to find it by the content

    Raises:
        ClipRejected: not_a_video, corrupt, no_video_stream; too_much_memory as MemoryError; by any method
    """

    def __init__(self, descriptor: int, container: str | None = None) -> None:
        self._descriptor = descriptor
        self._log, self._opened = _Log(), False
        logging.getLogger("libav").addHandler(self._log)
        av.logging.set_level(av.logging.WARNING)
        with self.rejecting():
            options = {**_OPTIONS, "fd": str(descriptor)}
            self._container = av.open("fd:", format=container, options=options, metadata_errors="replace")
        self._container.flags &= ~_GEN_PTS  # generated times are not those of the frames
        self._clock = Clock() if self._container.format.flags & _TS_DISCONT else None
        self._opened = True
        streams = [one for one in self._container.streams.video if not one.disposition & Disposition.attached_pic]
        if not streams:
            raise ClipRejected("no_video_stream", "no video stream other than cover art")
        self.stream = streams[0]
        self._read_only(self.stream)
        self.base = self.stream.time_base or Fraction(1, 1_000_000)
        self.codec = self.stream.codec_context
        if self.codec is None:
            raise ClipRejected("corrupt", self._log.errors() or "no decoder for its codec")
        self.codec.options = _DECODER_OPTIONS

    def header(self) -> dict[str, Any]:
        """The stream as the header describes it."""
        aspect, rate = self.stream.sample_aspect_ratio, self.stream.average_rate
        return {
            "size": [self.codec.width, self.codec.height],
            "aspect": [aspect.numerator, aspect.denominator] if aspect else [0, 1],
            "rate": float(rate) if rate else 0.0,
            "base": [self.base.numerator, self.base.denominator],
            "start": self.start,
            "colors": [self.codec.color_trc, self.codec.color_primaries, self.codec.colorspace],
        }

    @property
    def start(self) -> int:
        """The start time of the container, in ticks of the stream."""
        if self._clock is not None:  # other streams of such containers may start long before
            return self.stream.start_time or 0
        start_us = self._container.start_time
        return 0 if start_us is None else round(Fraction(start_us, 1_000_000) / self.base)

    def codecs(self) -> list[str]:
        """The codec of each stream, or the type of the stream if it has no decoder."""
        streams = self._container.streams
        return [one.type if one.codec_context is None else one.codec_context.name for one in streams]

    def seek(self, start_s: int) -> None:
        """Seek to a keyframe before `start_s`, counted from the start."""
        with self.rejecting():
            self._container.seek(start_s * 1_000_000 + int(self.start * self.base * 1_000_000) - _REORDERED_US)

    def packets(self) -> Iterator[Any]:
        """The packets that become frames, then an empty one. Raises ClipRejected."""
        for packet in self.packets_of(self.stream):
            if self._clock is not None:
                self._clock.add(packet)
                move(packet, self._clock.moves[-1])
            yield packet

    def packets_of(self, *streams: Any) -> Iterator[Any]:
        """The packets of streams with the times of the file, finally an empty one for each. Raises ClipRejected."""
        self._read_only(*streams)
        with self.rejecting():
            for packet in self._container.demux(*streams):
                if packet.is_corrupt:
                    raise ClipRejected("corrupt", self._log.errors() or "corrupt input packet")
                yield packet

    def decoded(self, packet: Any) -> list[Any]:
        """Decode a packet; returns the frames that are complete. Raises ClipRejected."""
        with self.rejecting():
            frames: list[Any] = packet.decode()
        if any(frame.is_corrupt for frame in frames):
            raise ClipRejected("corrupt", self._log.errors() or "corrupt decoded frame")
        return frames

    @property
    def restarts(self) -> bool:
        """Whether clocks of this container format can restart."""
        return self._clock is not None

    def sound(self) -> Any:
        """The first audio stream that is played by default, else the first; None if there is none. Raises ClipRejected."""
        streams = self._container.streams.audio
        found = next((one for one in streams if one.disposition & Disposition.default), streams[0] if streams else None)
        if found is not None:
            if found.codec_context is None:
                raise ClipRejected("corrupt", self._log.errors() or "no decoder for its sound")
            found.codec_context.options = _DECODER_OPTIONS
        return found

    def again(self) -> "Video":
        """The file, opened again from its start."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return Video(self._descriptor)

    def _read_only(self, *streams: Any) -> None:
        for one in self._container.streams:
            one.discard = Discard.default if one in streams else Discard.all

    def rejecting(self) -> "_Rejecting":
        """A context that raises errors of FFmpeg as ClipRejected."""
        return _Rejecting(self)

    def rejected(self, error: BaseException) -> ClipRejected:
        """The rejection for an error of FFmpeg."""
        detail = self._log.errors() or getattr(error, "strerror", None) or str(error) or type(error).__name__
        recognized = self._opened and not self._log.contains("misdetection possible")
        return ClipRejected("corrupt" if recognized or self._log.contains("moov atom not found") else "not_a_video", detail)

    @property
    def short_of_memory(self) -> bool:
        """Whether FFmpeg ran out of memory: it reports so, or peaked near the limit, since it often reports another error."""
        if self._log.contains("Cannot allocate memory", "Out of memory", "Failed to allocate", "get_buffer() failed"):
            return True
        status = dict(re.findall(r"^(Vm\w+):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M))
        peak_kb = int(status["VmPeak"]) - int(status["VmSize"]) + int(status["VmData"])
        return peak_kb << 10 > resource.getrlimit(resource.RLIMIT_DATA)[0] * _NEAR


class _Rejecting:
    def __init__(self, video: Video) -> None:
        self._video = video

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, MemoryError) or not isinstance(error, _OF_FFMPEG):
            return
        if self._video.short_of_memory:
            raise MemoryError from error
        raise self._video.rejected(error) from error
