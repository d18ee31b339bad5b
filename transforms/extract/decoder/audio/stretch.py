"""The sound of an interval of a video (a stretch), placed by its timestamps and resampled.

The order, in addition to `do` and limits:
    start_s: start of the stretch, seconds from the start of the container in the video's time
    seconds: its length, [numerator, denominator]
    seek_s: where decoding starts, whole seconds; 0 is the start of the file
    hz, mono: sample rate and channels of the answer; null and false keep those of the source

The answer: `{"sound": [hz, channels]}`, or null for a file without sound; then `{"samples": n}`, each followed by n samples of 16
bits per channel, which together fill the stretch.
"""

import math
import socket
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder import wire
from motionshards.transforms.extract.decoder.audio.processor import baseline_processor
from motionshards.transforms.extract.decoder.clocks import Clock, move
from motionshards.transforms.extract.decoder.video import Video

# Clocks of whole milliseconds, as in Matroska and FLV, jitter by half a tick; a true gap is at least one coded frame.
_SAME_TIME_S, _SAME_TICKS = Fraction(1, 1000), Fraction(3, 2)
# Longer than the resampler's filter, which extends into the sound around the stretch.
_MARGIN_S = Fraction(1, 50)
_PREROLL_S = 30
_RATES_HZ = range(1000, 655_351)  # the upper limit is FLAC's
_MAX_CHANNELS = 8
_BYTES_AT_ONCE = 1 << 16
_SILENT_SAMPLES = 1 << 14
_never_freed: list[Any] = []


def send_sound(video: Video, order: dict[str, Any], reply: socket.socket) -> None:
    """Send the sound of a stretch. Raises ClipRejected: corrupt, frame_mismatch, sound_clock"""
    stretch: _Stretch | None = None
    start = Fraction(order["start_s"]) + video.start * video.base
    with video.rejecting(), baseline_processor():
        for frame, base in _decoded(video, order["seek_s"], start):
            stretch = stretch or _Stretch(frame, base, start, order, reply)
            if not stretch.add(frame):
                break
        if stretch is None:
            reply.sendall(wire.packed({"sound": None}))
        else:
            stretch.finish()


def _decoded(video: Video, seek_s: int, start: Fraction) -> Iterator[tuple[Any, Fraction]]:
    """Decoded audio frames, each with its time base; after a seek, the first one must be shortly before the start."""
    if video.sound() is None:
        return
    seeking, started, failure = bool(seek_s) and not video.restarts, False, None
    for packet in _packets(video, seek_s if seeking else 0):
        try:
            frames = video.decoded(packet)
        except ClipRejected as error:
            if started or not video.restarts:
                raise
            frames, failure = [], error  # such containers may be cut anywhere, also within a frame
        for frame in frames:
            _check_channels(frame)
            if seeking and not started:
                _check_seek(frame, packet.time_base, start)
            started = True
            yield frame, packet.time_base
    if failure is not None and not started:
        raise failure
    if seeking and not started:
        raise ClipRejected("frame_mismatch", "no sound after the seek")


def _packets(video: Video, seek_s: int) -> Iterator[Any]:
    """Audio packets with times in step with the video; the last one is empty."""
    moves, clock = [0], Clock()
    if video.restarts:
        moves, video = _moves(video), video.again()
    elif seek_s:
        video.seek(seek_s)
    for packet in video.packets_of(video.sound()):
        if video.restarts:
            clock.add(packet)
        move(packet, moves[len(clock.moves) - 1])
        yield packet


def _check_seek(frame: Any, base: Fraction, start: Fraction) -> None:
    """Raise ClipRejected (frame_mismatch) unless the first frame after a seek is shortly before the stretch."""
    if frame.pts is None or not start - _PREROLL_S <= frame.pts * base <= start:
        raise ClipRejected("frame_mismatch", "the seek did not reach the sound before the stretch")


def _check_channels(frame: Any) -> None:
    """Raise ClipRejected (corrupt) for a custom channel layout."""
    if " channels (" in frame.layout.name:  # as FFmpeg describes custom layouts
        # PyAV frees such a layout twice: with the frame and with the object that describes it. Keeping the frame prevents that.
        _never_freed.append(frame)
        raise ClipRejected("corrupt", f"sound of {frame.layout.name}")


def _moves(video: Video) -> list[int]:
    """Ticks to move the sound by after each restart of its clock, the same time as for the video. Raises ClipRejected."""
    clocks = {stream.index: Clock() for stream in (video.stream, video.sound())}
    for packet in video.packets_of(video.stream, video.sound()):
        clocks[packet.stream_index].add(packet)
    video_moves, sound_moves = (clocks[stream.index].moves for stream in (video.stream, video.sound()))
    if len(video_moves) != len(sound_moves):
        raise ClipRejected(
            "sound_clock", f"the clock of the video starts {len(video_moves)} times, that of the sound {len(sound_moves)}"
        )
    return [round(ticks * video.base / video.sound().time_base) for ticks in video_moves]


class _Stretch:
    """Places frames by their timestamps: gaps are filled with zeros, and overlapping samples are dropped.

    Times are samples of the first frame's rate, from the start of the stretch.
    """

    def __init__(self, first: Any, base: Fraction, start: Fraction, order: dict[str, Any], reply: socket.socket) -> None:
        self._kind, self._rate = _kind(first), int(first.sample_rate)
        channels = 1 if order["mono"] else first.layout.nb_channels
        if self._rate not in _RATES_HZ or not 1 <= channels <= _MAX_CHANNELS:
            raise ClipRejected("corrupt", f"sound of {self._rate} Hz and {channels} channels")
        self._converters: dict[tuple[Any, ...], av.AudioResampler] = {}
        hz = order["hz"] or self._rate
        count = round(hz * Fraction(*order["seconds"]))
        # Margins are a whole number of samples at both rates.
        common = math.gcd(self._rate, hz)
        margins = math.ceil(_MARGIN_S * common)
        before = margins * self._rate // common
        self._at, self._stop = -before, math.ceil(Fraction(count * self._rate, hz)) + before
        # Integers, because arithmetic on fractions would take as long as the decoding.
        per_tick, origin = base * self._rate, start * self._rate
        self._whole = math.lcm(per_tick.denominator, origin.denominator)
        self._per_tick, self._origin = int(per_tick * self._whole), int(origin * self._whole)
        self._same = int(self._rate * max(_SAME_TIME_S, _SAME_TICKS * base))
        self._expected: int | None = None
        self._out = _Out(hz, "mono" if order["mono"] else first.layout, margins * hz // common, count, reply)

    def add(self, frame: Any) -> bool:
        """Add the next frame; returns False once the end of the stretch is reached."""
        begin: int = self._begin(frame)
        for one in self._alike(frame):
            end: int = begin + one.samples
            first, stop = max(begin, self._at), min(end, self._stop)
            if first < stop:
                self._silence(first)
                self._out.put(one if stop - first == one.samples else _part(one, first - begin, stop - begin))
                self._at = stop
            self._expected = max(end, end if self._expected is None else self._expected)
            begin = end
        return begin < self._stop

    def finish(self) -> None:
        """Send the remaining samples, with silence up to the end of the stretch."""
        self._silence(self._stop)
        self._out.finish()

    def _begin(self, frame: Any) -> int:
        if frame.pts is None:
            return self._expected or 0
        timestamp = (frame.pts * self._per_tick - self._origin + self._whole // 2) // self._whole
        near = self._expected is not None and abs(timestamp - self._expected) <= self._same
        return self._expected if near and self._expected is not None else timestamp

    def _alike(self, frame: Any) -> list[Any]:
        """The frame converted to the first frame's format, channels and rate; streams can change them."""
        kind = _kind(frame)
        if kind == self._kind:
            return [frame]
        if kind not in self._converters:
            self._converters[kind] = av.AudioResampler(*self._kind)
        return self._converters[kind].resample(frame)

    def _silence(self, until: int) -> None:
        while self._at < until:
            count = min(until - self._at, _SILENT_SAMPLES)
            self._out.put(_silent(self._kind, count))
            self._at += count


class _Out:
    """Resamples frames, and sends `count` samples after skipping the first `skip`."""

    def __init__(self, hz: int, layout: Any, skip: int, count: int, reply: socket.socket) -> None:
        self._resampler = av.AudioResampler("s16", layout, hz, options={"internal_sample_fmt": "fltp"})
        channels = av.AudioLayout(layout).nb_channels
        self._sample_bytes, self._reply, self._waiting = 2 * channels, reply, bytearray()
        self._skip, self._left = skip * self._sample_bytes, count * self._sample_bytes
        reply.sendall(wire.packed({"sound": [hz, channels]}))

    def put(self, frame: Any) -> None:
        frame.pts = None  # frames are contiguous at this point
        self._take(self._resampler.resample(frame))

    def finish(self) -> None:
        self._take(self._resampler.resample(None))
        if self._waiting:
            self._send()
        assert not self._left, "the stretch is filled"

    def _take(self, frames: list[Any]) -> None:
        for one in frames:
            content = memoryview(one.planes[0])[: one.samples * self._sample_bytes]
            skipped = min(self._skip, len(content))
            self._skip -= skipped
            content = content[skipped : skipped + self._left]
            self._left -= len(content)
            self._waiting += content
            if len(self._waiting) >= _BYTES_AT_ONCE:
                self._send()

    def _send(self) -> None:
        self._reply.sendall(wire.packed({"samples": len(self._waiting) // self._sample_bytes}))
        self._reply.sendall(self._waiting)
        self._waiting = bytearray()


def _kind(frame: Any) -> tuple[str, Any, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _silent(kind: tuple[str, Any, int], samples: int) -> Any:
    name, layout, rate = kind
    frame = av.AudioFrame(name, layout, samples)
    frame.sample_rate = rate
    for plane in frame.planes:
        plane.update((b"\x80" if name.startswith("u8") else b"\0") * plane.buffer_size)
    return frame


def _part(frame: Any, start: int, stop: int) -> Any:
    """Samples [start, stop) of a frame."""
    part = av.AudioFrame(frame.format, frame.layout, stop - start)
    part.sample_rate = frame.sample_rate
    width = frame.format.bytes * (1 if frame.format.is_planar else frame.layout.nb_channels)
    for into, plane in zip(part.planes, frame.planes, strict=True):
        into.update(bytes(memoryview(plane)[start * width : stop * width]))
    return part
