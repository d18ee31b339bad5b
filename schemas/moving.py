"""Continuous video of a clip."""

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Encoded:
    """A video at a constant rate: frame i is shown at i / rate seconds.

    mp4: H.264 in yuv420p
    frames: how many it has
    rate: frames per second
    crf: of x264; None where packets of the source were copied
    """

    mp4: bytes = field(repr=False)
    frames: int
    rate: Fraction
    crf: int | None
