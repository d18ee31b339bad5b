"""Stored continuous video and audio of a clip, and the integer encoding of its landmarks."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Frames = TypeVar("Frames", int, NDArray[np.int64])

NO_POINT = np.uint16(65535)
"""Coordinate value that encodes a missing point."""
_FINEST_UNITS, _FINEST_UP_TO_PX = 64, 512


@dataclass(frozen=True, slots=True)
class Encoded:
    """An mp4 with one H.264 stream of constant frame rate: frame i is shown at i / rate seconds.

    mp4: the file
    frames: frames of the stream
    rate: frames per second
    crf: x264's constant rate factor; None where the packets of the source were copied
    """

    mp4: bytes = field(repr=False)
    frames: int
    rate: Fraction
    crf: int | None


@dataclass(frozen=True, slots=True)
class Smaller:
    """The stills and the video of a clip at one of the smaller sizes.

    size_px: height and width of the frames
    jpegs: the stills, as many as at the main size
    mp4: the video, with the same frames as at the main size; None if no video is stored
    """

    size_px: int
    jpegs: tuple[bytes, ...] = field(repr=False)
    mp4: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class SoundLevel:
    """Measures of a clip's stored audio.

    level_db: root mean square over all channels, dBFS; -100 for digital silence
    silence: fraction of 20 ms windows below -50 dBFS
    clipping: fraction of samples in runs of at least two at full scale
    speech: fraction of windows with speech, see `transforms.extract.speech`; None if not measured
    """

    level_db: float
    silence: float
    clipping: float
    speech: float | None = None


@dataclass(frozen=True, slots=True)
class StoredSound:
    """The audio of a clip, covering the same span as its video.

    flac: the file, 16 bits per sample
    hz: samples per second
    channels: 1 for mono
    samples: samples per channel
    """

    flac: bytes = field(repr=False)
    hz: int
    channels: int
    samples: int
    level: SoundLevel


def samples_at(frames: int, rate: Fraction, hz: int) -> int:
    """Number of audio samples that precede video frame number `frames`, rounded half to even."""
    return round(Fraction(frames * hz) / rate)


def measured_rows(frames: Frames, every: int) -> Frames:
    """Number of measured frames (0, every, 2·every, …) of a video of `frames` frames; elementwise for an int64 array."""
    return -(-frames // every)


def point_scale(size_px: int) -> tuple[int, float]:
    """Scale (units per pixel) and offset (pixels) of the uint16 encoding for a frame size: stored = (x + offset) · scale.

    The resolution is 1/64 px for frames of up to 512 px, and is halved each time the size doubles. The frame is centered in the
    range of uint16.
    """
    units = _FINEST_UNITS
    while size_px > _FINEST_UP_TO_PX * (_FINEST_UNITS // units) and units > 1:
        units //= 2
    return units, (2**16 / units - size_px) / 2


def size_of(units: int, offset_px: float) -> int:
    """Inverse of `point_scale`: the frame size in pixels."""
    return round(2**16 / units - 2 * offset_px)


def quantized(points_px: NDArray[np.float32], size_px: int) -> NDArray[np.uint16]:
    """Encode points, float32 [L,68,2] in stored pixels, as uint16 [L,68,2]; NaN becomes NO_POINT, other values are clipped."""
    units, offset = point_scale(size_px)
    steps = np.rint((points_px.astype(np.float64) + offset) * units)
    missing = np.isnan(steps)
    stored: NDArray[np.uint16] = np.where(missing, 0, steps).clip(0, int(NO_POINT) - 1).astype(np.uint16)
    stored[missing] = NO_POINT
    return stored


def restored_px(stored: NDArray[np.uint16], units: int, offset_px: float) -> NDArray[np.float32]:
    """Inverse of `quantized`, given scale and offset of `point_scale`: float32 in stored pixels, NaN for NO_POINT."""
    points: NDArray[np.float32] = (stored / units - offset_px).astype(np.float32)
    points[stored == NO_POINT] = np.nan
    return points


def scaled_px(points_px: NDArray[np.float32], size_px: int, to_px: int) -> NDArray[np.float32]:
    """Rescale coordinates, float32 of any shape, from frames of `size_px` to frames of `to_px`; pixel centers are integers."""
    if size_px == to_px:
        return points_px
    scaled: NDArray[np.float32] = ((points_px + 0.5) * (to_px / size_px) - 0.5).astype(np.float32)
    return scaled


def quantized_scores(scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Encode scores in [0, 1] as uint8, in steps of 1/255; other values are clipped."""
    steps: NDArray[np.uint8] = np.rint(scores.astype(np.float64).clip(0, 1) * 255).astype(np.uint8)
    return steps


def restored_scores(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Inverse of `quantized_scores`: float32 in [0, 1]."""
    scores: NDArray[np.float32] = (stored / 255).astype(np.float32)
    return scores
