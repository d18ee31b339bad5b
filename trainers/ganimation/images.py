"""The image grid of a training step."""

import torch
from torch import Tensor, nn

from motionshards.trainers.ganimation.losses import Part


@torch.no_grad()
def step_images(generator: nn.Module, part: Part, most: int) -> dict[str, Tensor]:
    """Return images [B,3,H,W] in [0, 1] by label, of the first `most` usable samples.

    `attention` is white where the source is kept; `restored` is the source restored from the prediction.
    """
    rows = part.usable.nonzero()[:most, 0]
    real, condition, desired = part.real[rows], part.condition[rows], part.desired[rows]
    there = generator(real, desired)
    fake = there.over(real)
    again = generator(fake, condition).over(fake)
    return {
        "source": as_image(real),
        "color": as_image(there.color),
        "attention": there.attention.expand(-1, 3, -1, -1),
        "prediction": as_image(fake),
        "restored": as_image(again),
    }


def as_image(signed: Tensor) -> Tensor:
    """Convert from [-1, 1] to [0, 1]."""
    return (signed + 1) / 2
