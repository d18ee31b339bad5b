"""Continuous video and sound of a clip."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class SoundLevel:
    """How loud sound is.

    level_db: RMS relative to full scale, dBFS, rounded to 2 digits; -100 for zeros
    silence: share of 20 ms windows below -50 dBFS
    clipping: share of samples in runs of two or more at full scale
    speech: share of 32 ms windows with speech; None if not measured
    """

    level_db: float
    silence: float
    clipping: float
    speech: float | None = None


def samples_at(frames: int, rate: Fraction, hz: int) -> int:
    """Samples of sound at `hz` that last as long as frames at `rate`, rounded."""
    return round(frames * hz / rate)
