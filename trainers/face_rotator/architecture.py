"""The shape of the three networks, checked on construction. The defaults are the published ones."""

from dataclasses import dataclass

from motionshards.trainers.settings import require, require_buildable

CHANNELS = 4
"""Of pictures: red, green, blue, alpha."""
POSE = 3
"""Numbers that tell each network what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """What the three networks share.

    size: of the pictures, px
    width: channels of the features at full size; each halving doubles them
    halvings: of the picture, before the residual blocks, and doublings after
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
        # A norm needs more than one value a channel.
        least = 2 ** (self.halvings + 1)
        require(
            f"size must be a multiple of {2**self.halvings}, {least} or more",
            self.size % (least // 2) == 0 and self.size >= least,
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the features after 0, 1, ... halvings."""
        return tuple(self.width * 2**number for number in range(self.halvings + 1))
