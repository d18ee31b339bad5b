"""The architecture of the three networks, validated on construction. Defaults are the published values."""

from dataclasses import dataclass

from motionshards.trainers.settings import require, require_buildable

_WIDEST = 8
_MIN_HALVINGS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Embedder, generator and discriminator.

    size: side of the square images, px
    width: channels after the first halving; doubled by each further one, up to a factor of 8, which is the length of embeddings
    halvings: number of halvings of the image in each network
    residuals: residual blocks of the generator at the smallest size
    compat: train and compute as the published code: a sigmoid on the discriminator's score, residual blocks of the generator that
        use their first mean and deviation twice, ImageNet's normalization for VGGFace, and images rendered again by the updated
        generator for all discriminator steps but the first. The default follows the paper
    """

    size: int = 256
    width: int = 64
    halvings: int = 6
    residuals: int = 5
    compat: bool = False

    def __post_init__(self) -> None:
        require("width must be a multiple of 4", self.width >= 4 and self.width % 4 == 0)
        require(f"halvings must be at least {_MIN_HALVINGS}", self.halvings >= _MIN_HALVINGS)
        require("residuals must not be negative", self.residuals >= 0)
        require_buildable(px=self.size, channels=self.width, layers=self.residuals, halvings=self.halvings)
        step = 2**self.halvings
        # Reflection padding and statistics at the smallest size need more than one pixel.
        require(
            f"size must be a multiple of {step}, for halvings, and at least {2 * step}",
            self.size >= 2 * step and self.size % step == 0,
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels after each halving."""
        return tuple(self.width * min(_WIDEST, 2**i) for i in range(self.halvings))

    @property
    def embedding(self) -> int:
        """Length of an embedding."""
        return self.widths[-1]
