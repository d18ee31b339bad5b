"""What a training step saw and made, as one picture for people."""

import torch
from torch import Tensor, nn

from motionshards.trainers.ganimation.losses import Part


@torch.no_grad()
def step_pictures(generator: nn.Module, part: Part, most: int) -> Tensor:
    """float32 [3, rows * H, columns * W] in [0, 1]: a row for each of the first `most` pictures that count.

    Its columns: the real picture, colour, attention, where white is kept, the made picture, and the real one made of that again.
    """
    rows = part.usable.nonzero()[:most, 0]
    real, condition, desired = part.real[rows], part.condition[rows], part.desired[rows]
    there = generator(real, desired)
    fake = there.over(real)
    again = generator(fake, condition).over(fake)
    mask = there.attention.expand(-1, 3, -1, -1)
    shown = torch.cat([as_picture(real), as_picture(there.colour), mask, as_picture(fake), as_picture(again)], dim=3)
    return shown.float().permute(1, 0, 2, 3).flatten(1, 2)


def as_picture(signed: Tensor) -> Tensor:
    """[-1, 1] as [0, 1]."""
    return (signed + 1) / 2
