"""Level of sound, and the fractions of it that are silent or clipped.

Sums are integers, so that the values are the same on every machine.
"""

import math

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.moving import SoundLevel
from motionshards.transforms.extract.sound import Pcm

_FULL, _ZERO_DB = 1 << 15, -100.0
_WINDOWS_PER_S, _WINDOWS_AT_ONCE = 50, 1000
_SILENT_DB = -50
_CLIPPED = 32767


def measure_sound(sound: Pcm) -> SoundLevel:
    """Measure stored sound, all of its channels together."""
    squares, counts = _windows(sound)
    total = int(squares.sum())
    level_db = 10 * math.log10(total / (sound.samples.size * _FULL**2)) if total else _ZERO_DB
    silent = squares * 10 ** (-_SILENT_DB // 10) < counts * _FULL**2
    return SoundLevel(
        level_db=max(_ZERO_DB, round(level_db, 2) + 0.0),  # not -0.0
        silence=int(silent.sum()) / len(silent),
        clipping=sum(_clipped(channel) for channel in sound.samples.T) / sound.samples.size,
    )


def _windows(sound: Pcm) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum of squares and number of samples of each window; the last may be shorter."""
    length = max(1, sound.hz // _WINDOWS_PER_S)
    squares = []
    for start in range(0, len(sound.samples), length * _WINDOWS_AT_ONCE):  # in blocks: squares take four times the memory
        part = sound.samples[start : start + length * _WINDOWS_AT_ONCE].astype(np.int64)
        squares.append(np.add.reduceat((part * part).sum(axis=1), np.arange(0, len(part), length)))
    counts = np.diff(np.append(np.arange(0, len(sound.samples), length), len(sound.samples)))
    return np.concatenate(squares), counts * sound.samples.shape[1]


def _clipped(samples: NDArray[np.int16]) -> int:
    """Number of samples at full scale with a neighbor that is at full scale with the same sign."""
    at = np.flatnonzero((samples >= _CLIPPED) | (samples <= -_CLIPPED))
    positive = samples[at] > 0
    adjacent = (np.diff(at) == 1) & (positive[1:] == positive[:-1])
    return int(np.count_nonzero(np.append(adjacent, False) | np.append(False, adjacent)))
