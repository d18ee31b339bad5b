"""Images of a training step, for people."""

import torch
from torch import Tensor, nn

from motionshards.trainers.ganimation.losses import Part


@torch.no_grad()
def step_pictures(generator: nn.Module, part: Part, most: int) -> dict[str, Tensor]:
    """Images [B,3,H,W] in [0, 1] by label, of the first `most` samples that count.

    `attention` is white where the source is kept; `restored` is the source again, made of the prediction.
    """
    rows = part.usable.nonzero()[:most, 0]
    real, condition, desired = part.real[rows], part.condition[rows], part.desired[rows]
    there = generator(real, desired)
    fake = there.over(real)
    again = generator(fake, condition).over(fake)
    return {
        "source": as_picture(real),
        "color": as_picture(there.colour),
        "attention": there.attention.expand(-1, 3, -1, -1),
        "prediction": as_picture(fake),
        "restored": as_picture(again),
    }


def as_picture(signed: Tensor) -> Tensor:
    """[-1, 1] as [0, 1]."""
    return (signed + 1) / 2
