"""The architecture of the two networks, validated on construction. Defaults are the published values."""

from dataclasses import dataclass

from motionshards.schemas.action_units import INTENSITIES
from motionshards.trainers.settings import require, require_buildable

AUS = len(INTENSITIES)
_MAX_HALVINGS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Generator and critic.

    size: side of the square images, px
    width: channels of the first layers of both networks; doubled by each halving
    residuals: residual blocks of the generator
    """

    size: int = 128
    width: int = 64
    residuals: int = 6

    def __post_init__(self) -> None:
        require("width must be at least 1 and residuals must not be negative", self.width >= 1 and self.residuals >= 0)
        require("size must be at least 8", self.size >= 8)
        require_buildable(px=self.size, channels=self.width, layers=self.residuals)
        step = max(4, 2**self.halvings)
        require(f"size must be a multiple of {step}, for the networks' halvings", self.size % step == 0)

    @property
    def halvings(self) -> int:
        """Number of halvings in the critic: six as published, or fewer if 2 or 3 px are left before."""
        return min(_MAX_HALVINGS, self.size.bit_length() - 2)

    @property
    def last_px(self) -> int:
        """Side of the critic's last features, and of the kernel that predicts action units; 2 px as published."""
        return self.size >> self.halvings
