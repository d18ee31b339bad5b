"""The architecture of the three networks, validated on construction. Defaults are the published values."""

from dataclasses import dataclass

from motionshards.trainers.settings import require, require_buildable

CHANNELS = 4
"""Channels of images: red, green, blue, alpha."""
POSE = 3
"""Numbers in the pose of each network."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Architecture settings that the three networks share.

    size: side of the images, px
    width: channels of the features at full size; doubled by each halving
    halvings: downsampling blocks before the residual blocks, and upsampling blocks after them
    blocks: residual blocks at the smallest size
    """

    size: int = 256
    width: int = 64
    halvings: int = 3
    blocks: int = 6

    def __post_init__(self) -> None:
        require(
            "size, width, halvings and blocks must be at least 1", min(self.size, self.width, self.halvings, self.blocks) >= 1
        )
        require_buildable(px=self.size, channels=self.width, layers=self.blocks, halvings=self.halvings)
        # Norms need more than one value per channel.
        least = 2 ** (self.halvings + 1)
        require(
            f"size must be a multiple of {2**self.halvings}, {least} or more",
            self.size % (least // 2) == 0 and self.size >= least,
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the features after 0, 1, ... halvings."""
        return tuple(self.width * 2**number for number in range(self.halvings + 1))
