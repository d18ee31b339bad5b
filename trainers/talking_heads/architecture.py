"""The shapes of the three networks, checked on construction. The defaults are the published ones."""

from dataclasses import dataclass

from motionshards.trainers.settings import require, require_buildable

_WIDEST = 8
_LEAST_HALVINGS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Embedder, generator and discriminator.

    size: side of the square pictures, px
    width: channels after the first halving; they double with each, up to 8 times as many, which is also the embedding's length
    halvings: of the picture, in each network
    residuals: blocks of the generator between its halvings and its doublings, at the smallest size
    compat: train and compute as the published re-implementation does: a sigmoid on the discriminator's score, residual blocks of
        the generator that use their first mean and deviation twice, images normalized for VGGFace as for ImageNet, and images
        painted anew by the updated generator for all steps of the discriminator but the first. By default as in the paper
    """

    size: int = 256
    width: int = 64
    halvings: int = 6
    residuals: int = 5
    compat: bool = False

    def __post_init__(self) -> None:
        require("width must be a multiple of 4", self.width >= 4 and self.width % 4 == 0)
        require(f"halvings must be at least {_LEAST_HALVINGS}", self.halvings >= _LEAST_HALVINGS)
        require("residuals must not be negative", self.residuals >= 0)
        require_buildable(px=self.size, channels=self.width, layers=self.residuals, halvings=self.halvings)
        step = 2**self.halvings
        # Borders are mirrored and statistics taken at the smallest size, for which a single pixel is too few.
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
