"""Tone mapping of HDR frames (HLG, PQ) to BT.709 with the Möbius curve, which preserves values below 30 % of SDR white and
compresses highlights.

The steps are those of FFmpeg's `zscale` and `tonemap`, which some builds lack. Only lookup tables and single operations in
float32 are used, whose results are the same on every processor.
"""

import functools
import math
import struct
import sys
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# SDR white in HDR video (ITU-R BT.2408), and peak of the display that HLG is graded for.
_WHITE_NITS, _HLG_NITS = 203.0, 1000.0
_PQ = 16
_LEVELS = 1 << 16
_BAND_PX = 1 << 16  # as many as fit in a CPU's cache
# Linear BT.2020 to BT.709, ITU-R BT.2087.
_TO_709 = (
    (1.66049100, -0.58764114, -0.07284986),
    (-0.12455047, 1.13289990, -0.00834942),
    (-0.01815076, -0.10057890, 1.11872966),
)
_KNEE = 0.3
# FFmpeg's default for the brightest highlight in a file without metadata, in units of 100 nits.
_PEAK = 10.0


def tone_mapped(frame: Any, transfer: int, peak: float) -> Any:
    """Map an rgb48le frame in BT.2020 to rgb24 in BT.709. `peak`: see `peak_of`."""
    height, width = frame.height, frame.width
    pixels = _words(frame).reshape(-1, 3)
    mapped = np.empty((len(pixels), 3), np.uint8)
    for start in range(0, len(pixels), _BAND_PX):
        mapped[start : start + _BAND_PX] = _band(pixels[start : start + _BAND_PX], transfer, peak)
    return _frame(mapped.reshape(height, width * 3), width)


def peak_of(frame: Any) -> float:
    """The brightest highlight according to the frame's metadata, in units of 100 nits."""
    level = frame.side_data.get("CONTENT_LIGHT_LEVEL")
    if level is not None and (nits := int.from_bytes(bytes(level)[:4], sys.byteorder)):
        return max(1.0, nits / 100)
    mastering = frame.side_data.get("MASTERING_DISPLAY_METADATA")
    if mastering is not None:
        numerator, denominator, _, known = struct.unpack("=4i", bytes(mastering)[72:88])
        if known and denominator > 0:
            return float(max(1.0, numerator / denominator / 100))
    return _PEAK


def _band(pixels: NDArray[np.uint16], transfer: int, peak: float) -> NDArray[np.uint8]:
    linear = [_linear(transfer)[pixels[:, channel]] for channel in range(3)]
    shown = [_weighted(linear, row) for row in _TO_709]
    brightest = np.maximum(np.maximum(np.maximum(shown[0], shown[1]), shown[2]), np.float32(1e-6))
    gain = _mobius(brightest, peak) / brightest
    return np.stack([_gamma()[_level(np.sqrt((one * gain).clip(0, 1)))] for one in shown], axis=1)


def _weighted(channels: list[Floats], weights: tuple[float, float, float]) -> Floats:
    red, green, blue = (one * np.float32(weight) for one, weight in zip(channels, weights, strict=True))
    total: Floats = red + green + blue
    return total


def _level(values: Floats) -> NDArray[np.uint16]:
    """Indices into a table for values from 0 to 1."""
    return (values.clip(0, 1) * np.float32(_LEVELS - 1) + np.float32(0.5)).astype(np.uint16)


def _mobius(values: Floats, peak: float) -> Floats:
    knee = _KNEE
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / max(peak - 1, 1e-6)
    scale = (b**2 + 2 * b * knee + knee**2) / (b - a)
    bent = np.float32(scale) * (values + np.float32(a)) / (values + np.float32(b))
    return np.where(values <= np.float32(knee), values, bent)


@functools.cache
def _linear(transfer: int) -> Floats:
    """Table of linear light relative to SDR white, by coded value."""
    of = _pq if transfer == _PQ else _hlg
    return np.array([of(level / (_LEVELS - 1)) for level in range(_LEVELS)], np.float32)


def _pq(value: float) -> float:
    """The EOTF of SMPTE ST 2084, relative to SDR white."""
    root = value ** (1 / 78.84375)
    return float((max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)) * 10_000 / _WHITE_NITS


def _hlg(value: float) -> float:
    """ARIB STD-B67 with a system gamma of 1.2, for each channel separately, as in `zscale`."""
    scene = value**2 / 3 if value <= 0.5 else (math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return float(scene**1.2 * _HLG_NITS / _WHITE_NITS)


@functools.cache
def _gamma() -> NDArray[np.uint8]:
    """Table of coded values of a BT.1886 display, indexed by the square root of light for enough levels in the dark."""
    return np.array([round((level / (_LEVELS - 1)) ** (2 / 2.4) * 255) for level in range(_LEVELS)], np.uint8)


def _words(frame: Any) -> NDArray[np.uint16]:
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint16).reshape(-1, plane.line_size // 2)[: frame.height]
    return np.ascontiguousarray(rows[:, : frame.width * 3])


def _frame(rows: NDArray[np.uint8], width: int) -> Any:
    frame = av.VideoFrame(width, len(rows), "rgb24")
    plane = frame.planes[0]
    np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: len(rows), : width * 3] = rows
    return frame
