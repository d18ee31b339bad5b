"""Which frames a video has, and when: counted, since its header may lie.

First from the packets (no decoding, cheap); and when the decoder then gives other frames than the packets promised, by
decoding all. Frame numbers count decodable frames in the order of presentation; times are those of the container.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from schemas.errors import ClipRejected
from transforms.extract.ffmpeg import safe_input_options
from transforms.extract.media import INPUT, Media, run_on

_HEADER_IS_OFF = 0.005

_NO_TIME = str(-(2**63))  # as framecrc writes AV_NOPTS_VALUE

_STREAM = re.compile(r"^\[info\]   Stream #0:\d+.*?: Video: (?!.*\(attached pic\)).*?, (\d+)x(\d+)[ ,\[]", re.M)
_NEXT_STREAM = re.compile(r"^\[info\]   Stream #0:|^\[info\] Output #0", re.M)
_RATE = re.compile(r" ([\d.]+) fps\b")
_ROTATION = re.compile(r"^\[info\] +(?:displaymatrix|Display Matrix): rotation of (-?[\d.]+) degrees", re.M)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The decodable frames of a file.

    raw_s: float64 [n], seconds as the container counts them, ascending
    size_px: width and height of the upright frame, as the header tells; checked when frames are decoded
    rate_hz: frames a second, as the header tells, rounded to two digits; None where it does not
    """

    raw_s: NDArray[np.float64]
    size_px: tuple[int, int]
    rate_hz: float | None = None

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
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last, which is taken to last as long as a frame does."""
        if len(self.raw_s) < 2:
            return 0.0
        return float((self.raw_s[-1] - self.raw_s[0]) * len(self.raw_s) / (len(self.raw_s) - 1))


ReadTimeline = Callable[[Media, float], Timeline]


def timeline_from_packets(media: Media, timeout_s: float) -> Timeline:
    """The frames that the container's packets promise, without decoding them. Raises ClipRejected."""
    return _timeline(media, {"c": "copy"}, timeout_s)


def timeline_by_decoding(media: Media, timeout_s: float) -> Timeline:
    """The frames that the decoder really gives: slower, for files whose packets are not frames. Raises ClipRejected."""
    return _timeline(media, {"vf": "scale=16:16", "c": "rawvideo", "fps_mode": "passthrough"}, timeout_s)


def _timeline(media: Media, options: dict[str, str], timeout_s: float) -> Timeline:
    source = ffmpeg.input(INPUT, **safe_input_options())
    result = run_on(media, source["V:0"].output("pipe:1", format="framecrc", **options), timeout_s)
    lines = result.stdout.decode().splitlines()
    base = next((Fraction(line.split()[2]) for line in lines if line.startswith("#tb 0:")), Fraction(0))
    fields = [line.split(",") for line in lines if line and not line.startswith("#")]
    # A packet that an edit list cuts away is flagged as discarded (0x4) and never becomes a frame.
    kept = [f[2].strip() for f in fields if not any("F=0x" in x and int(x.split("F=0x")[1], 16) & 4 for x in f[6:])]
    if not kept:
        raise ClipRejected("corrupt", "no frames")
    if _NO_TIME in kept:
        raise ClipRejected("frame_mismatch", "packets without timestamps")
    times = np.sort(np.array([float(int(pts) * base) for pts in kept], np.float64))
    return Timeline(times, *_header(result.log))


def _header(log: str) -> tuple[tuple[int, int], float | None]:
    """Width and height of the first video stream of the log, turned as its display matrix says, and its frame rate."""
    stream = _STREAM.search(log)
    if stream is None:
        raise ClipRejected("corrupt", "the stream has no size")
    width, height = int(stream[1]), int(stream[2])
    following = _NEXT_STREAM.split(log[stream.end() :], maxsplit=1)[0]
    rotation = _ROTATION.search(following)
    turned = rotation and round(float(rotation[1]) / 90) % 2
    rate = _RATE.search(following.partition("\n")[0])
    return (height, width) if turned else (width, height), float(rate[1]) if rate and float(rate[1]) > 0 else None
