"""Resampling of a video's frames to a constant frame rate."""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder.limits import MAX_FRAMES
from motionshards.transforms.extract.timeline import Timeline

_USUAL_HZ = Fraction(25)
_MIN_HZ = Fraction(1, 1001)
_HEADER_IS_OFF = 0.01
# Headers are rounded to two digits.
_SNAP_HZ = 0.006
# Times of a file are float64 seconds; different ones differ by at least a microsecond.
_SAME_TIME_S = 1e-7


def shown_frames(pts_s: NDArray[np.float64], duration_s: float, rate: Fraction) -> NDArray[np.int64]:
    """The frame to show at each step of a constant rate: the nearest in time to `pts_s[0] + i / rate`, the earlier of two.

    The steps cover the duration to within half a step; there is at least one.

    Args:
        pts_s: float64 [n], ascending, at least one
        duration_s: from the first frame to the end of the last

    Returns:
        int64 [M], indices into `pts_s`, ascending; frames are repeated or skipped where rates differ

    Raises:
        ClipRejected: too_many_packets
    """
    steps = max(1, math.ceil(duration_s * float(rate) - 0.5 - _SAME_TIME_S * float(rate)))
    if steps > MAX_FRAMES:
        raise ClipRejected("too_many_packets", f"{duration_s:g} s have {steps} frames at {float(rate):g} Hz")
    times_s = pts_s[0] + np.arange(steps) * rate.denominator / rate.numerator
    after = np.searchsorted(pts_s, times_s).clip(max=len(pts_s) - 1)
    before = np.maximum(after - 1, 0)
    later = pts_s[after] - times_s < times_s - pts_s[before] - _SAME_TIME_S
    # The first of frames with the same time.
    places: NDArray[np.int64] = np.searchsorted(pts_s, pts_s[np.where(later, after, before)]).astype(np.int64)
    return places


def rate_of(setting: str, line: Timeline) -> Fraction:
    """Frames per second for a setting: `source` is the rate of the source video, else a number such as `25` or `30000/1001`."""
    return source_rate(line) if setting == "source" else Fraction(setting)


def source_rate(line: Timeline) -> Fraction:
    """Frames per second according to the header, or to the timestamps if the header is off; 25 if neither is known.

    Rounded to the nearest whole number n or n · 1000 / 1001 if the difference is within the header's rounding.
    """
    header_hz, last_s = line.rate_hz, float(line.pts_s[-1])
    true_hz = (len(line.raw_s) - 1) / last_s if last_s else header_hz
    found_hz = true_hz if header_hz is None or true_hz is None or abs(header_hz / true_hz - 1) > _HEADER_IS_OFF else header_hz
    if found_hz is None:
        return _USUAL_HZ
    near = (Fraction(round(found_hz)), Fraction(1000 * round(found_hz), 1001))
    exact = Fraction(found_hz).limit_denominator(1001)
    return max(_MIN_HZ, next((rate for rate in near if abs(rate - found_hz) < _SNAP_HZ), exact))
