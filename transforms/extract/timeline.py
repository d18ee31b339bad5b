"""Which frames a video has, and when: counted, since its header may lie.

First from the packets (no decoding, cheap); and when the decoder then gives other frames than the packets promised, by
decoding all. Frame numbers count decodable frames in the order of presentation; times are those of the container, exact at
variable rates too.
"""

import re
import secrets
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.ffmpeg import safe_input_options
from motionshards.transforms.extract.frame_log import HDR_TRANSFERS, SQUARE, FrameLog, aspect, check_count, in_seconds
from motionshards.transforms.extract.media import INPUT, Media, run_on

_HEADER_IS_OFF = 0.005
# Decoding times of the container may go backwards, or be guessed wrongly by ffmpeg, which then refuses to list the packets. They
# are not needed: these go up by one from so far back that none is later than its packet's time of presentation.
PRESENTATION_ONLY = "pts=PTS:dts=N-1000000000000"
_NO_TIME = -(2**63)  # as framecrc writes AV_NOPTS_VALUE
_LISTED_AT_ONCE = 10_000

_END_OF_INPUT = re.compile(r"^\[info\] (?:Stream mapping:|Output #0)", re.M)
_RATE = re.compile(r"^([\d.]+) fps\b")
_ROTATION = re.compile(r"^\[info\] +(?:displaymatrix|Display Matrix): rotation of (-?[\d.]+) degrees", re.M)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The decodable frames of a file.

    raw_s: float64 [n], seconds as the container counts them, ascending
    size_px: width and height of the upright frame, as the header tells; checked when frames are decoded
    rate_hz: frames a second, as the header tells, rounded to two digits; None where it does not
    pixel_aspect: width over height of a pixel of the upright frame
    hdr: whether the frames are HDR according to the header; checked when frames are decoded
    untagged: whether the header leaves out the matrix or primaries of the colours
    one_size: False where frames are known to change their size, of which `size_px` is then the first
    by_time: frames are selected by their times, as ffmpeg does not number them through
    """

    raw_s: NDArray[np.float64]
    size_px: tuple[int, int]
    rate_hz: float | None = None
    pixel_aspect: Fraction = SQUARE
    hdr: bool = False
    untagged: bool = False
    one_size: bool = True
    by_time: bool = False

    @property
    def pts_s(self) -> NDArray[np.float64]:
        """float64 [n], seconds from the first frame."""
        return self.raw_s - self.raw_s[0] if len(self.raw_s) else self.raw_s

    @property
    def nominal_s(self) -> NDArray[np.float64]:
        """float64 [n], frame number over header rate, as tools count that know no timestamps; the true times where those
        are not evenly spaced or the header is far off."""
        pts_s, steps = self.pts_s, max(1, len(self.raw_s) - 1)
        frame_s = float(pts_s[-1]) / steps if len(pts_s) else 0.0
        even = np.abs(pts_s - np.arange(len(pts_s)) * frame_s).max(initial=0) < frame_s / 2
        if self.rate_hz is None or not even or abs(self.rate_hz * frame_s - 1) > _HEADER_IS_OFF:
            return pts_s
        return np.arange(len(pts_s)) / self.rate_hz

    @property
    def display_px(self) -> tuple[int, int]:
        """Width and height of the frame scaled to square pixels; no side is shorter than it was."""
        return square_pixels(self.size_px, self.pixel_aspect)

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last, which is taken to last as long as a frame does."""
        if len(self.raw_s) < 2:
            return 0.0
        return float((self.raw_s[-1] - self.raw_s[0]) * len(self.raw_s) / (len(self.raw_s) - 1))


ReadTimeline = Callable[[Media, float], Timeline]


def square_pixels(size_px: tuple[int, int], pixel_aspect: Fraction) -> tuple[int, int]:
    """A size in pixels of that aspect as one of square pixels; no side becomes shorter."""
    width, height = size_px
    return (round(width * pixel_aspect), height) if pixel_aspect >= 1 else (width, round(height / pixel_aspect))


def timeline_from_packets(media: Media, timeout_s: float) -> Timeline:
    """The frames that the container's packets promise, without decoding them.

    Raises:
        ClipRejected: corrupt, frame_mismatch, too_many_packets, and as `run_on`
    """
    packets, separator = PacketList(), f" {secrets.token_hex(8)} "
    source = ffmpeg.input(INPUT, **safe_input_options(), dump_separator=separator)
    output = source["V:0"].output("pipe:1", format="framecrc", c="copy", **{"bsf:v": f"setts={PRESENTATION_ONLY}"})
    log = run_on(media, output, timeout_s, put=packets.put).log
    times = packets.times_s()
    return _described(times, packets, log, separator)


def timeline_by_decoding(media: Media, timeout_s: float) -> Timeline:
    """The frames that the decoder really gives: slower, for files whose packets are not frames.

    Raises:
        ClipRejected: corrupt, frame_mismatch, too_many_packets, and as `run_on`
    """
    frames, separator = FrameLog(), f" {secrets.token_hex(8)} "
    source = ffmpeg.input(INPUT, **safe_input_options(), dump_separator=separator)
    output = frames.source(source["V:0"]).output("pipe:1", format="null", fps_mode="passthrough")
    log = run_on(media, output, timeout_s, take=frames.take).log
    if not len(frames):
        raise ClipRejected("corrupt", "no frames")
    width, height = frames.sizes_px[0].tolist()
    format_told, rate_told, _ = _stream_line(log, separator)
    return Timeline(
        raw_s=np.sort(frames.times_s),
        size_px=(width, height),
        rate_hz=_rate(rate_told),
        pixel_aspect=frames.pixel_aspects[0],
        hdr=frames.is_hdr,
        untagged="unknown" in format_told,
        one_size=bool((frames.sizes_px == (width, height)).all()) and len(frames.pixel_aspects) == 1,
        by_time=frames.configurations > 1,
    )


class PacketList:
    """Packets as ffmpeg's format `framecrc` lists them, read piece by piece, since a small file can promise millions.

    Those of the first stream are kept by their times; of others it is known that they are there.

    size_px, pixel_aspect: of the first stream, as it is stored
    codecs: of each stream, by ffmpeg's names
    """

    def __init__(self) -> None:
        self._rest = b""
        self._base = Fraction(0)
        self._pts = array("q")
        self.size_px: tuple[int, int] | None = None
        self.pixel_aspect = SQUARE
        self.codecs: dict[int, str] = {}

    def put(self, piece: bytes) -> None:
        """Take the next piece of ffmpeg's output. Raises ClipRejected: too_many_packets."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"#"):
                self._describe(line.decode("utf-8", "replace"))
            elif line.startswith(b"0,"):
                self._add(line.split(b","))

    def _describe(self, line: str) -> None:
        name, _, value = line[1:].partition(": ")
        name, _, stream = name.partition(" ")
        if name == "codec_id":
            self.codecs[int(stream)] = value
        elif stream == "0" and name == "tb":
            self._base = Fraction(value)
        elif stream == "0" and name == "dimensions":
            width, height = value.split("x")
            self.size_px = (int(width), int(height))
        elif stream == "0" and name == "sar":
            self.pixel_aspect = aspect(*map(int, value.split("/")))

    def _add(self, fields: list[bytes]) -> None:
        # A packet that an edit list cuts away is flagged as discarded (0x4) and never becomes a frame.
        if any(b"F=0x" in field and int(field.split(b"F=0x")[1], 16) & 4 for field in fields[6:]):
            return
        self._pts.append(int(fields[2]))
        if len(self._pts) % _LISTED_AT_ONCE == 0:
            known = [one for one in (self._pts[0], self._pts[-1]) if one != _NO_TIME]
            check_count(len(self._pts), float((known[-1] - known[0]) * self._base) if len(known) == 2 else float("inf"))

    def times_s(self) -> NDArray[np.float64]:
        """float64 [n], when the packets are to be shown, ascending. Raises ClipRejected: corrupt, frame_mismatch."""
        pts = np.sort(np.array(self._pts, np.int64))
        if not len(pts):
            raise ClipRejected("corrupt", "no frames")
        if pts[0] == _NO_TIME:
            raise ClipRejected("frame_mismatch", "packets without timestamps")
        return in_seconds(pts, self._base)

    def first_s(self) -> float | None:
        """The earliest time; None where none is known."""
        known = [pts for pts in self._pts if pts != _NO_TIME]
        return float(min(known) * self._base) if known else None


def _described(times: NDArray[np.float64], packets: PacketList, log: str, separator: str) -> Timeline:
    """The timeline of packets with what the header tells of the first video stream, turned as its display matrix says."""
    if packets.size_px is None or min(packets.size_px) < 1:
        raise ClipRejected("corrupt", "the stream has no size")
    format_told, rate_told, below = _stream_line(log, separator)
    (width, height), pixel_aspect = packets.size_px, packets.pixel_aspect
    if _is_turned(below):
        width, height, pixel_aspect = height, width, 1 / pixel_aspect
    return Timeline(
        raw_s=times,
        size_px=(width, height),
        rate_hz=_rate(rate_told),
        pixel_aspect=pixel_aspect,
        hdr=any(name in format_told for name in HDR_TRANSFERS),
        untagged="unknown" in format_told,
    )


def _stream_line(log: str, separator: str) -> tuple[str, str, str]:
    """Of the first video stream: its pixel format, its rate, and the lines below, up to the next stream's.

    The fields of the line are found by the separator, which is random, since a file's title or language may hold any text.
    """
    lines = re.split(rf"^(.*: Video: .*{re.escape(separator)}.*)$", log, flags=re.M)
    for line, below in zip(lines[1::2], lines[2::2], strict=True):
        if "(attached pic)" not in line and "(still image)" not in line:
            fields = line.split(separator)
            return fields[1], fields[2] if len(fields) > 2 else "", _END_OF_INPUT.split(below, maxsplit=1)[0]
    return "", "", ""


def _rate(told: str) -> float | None:
    rate = _RATE.search(told)
    return float(rate[1]) if rate and float(rate[1]) > 0 else None


def _is_turned(below: str) -> bool:
    """Whether ffmpeg turns frames by a quarter: only where the display matrix says so within a degree."""
    rotation = _ROTATION.search(below)
    return rotation is not None and abs(float(rotation[1]) % 180 - 90) < 1
