"""What a training step saw and made, as one picture for people."""

from collections.abc import Sequence

import torch
from torch import Tensor

from motionshards.trainers.face_rotator.colour import to_frames


def step_pictures(columns: Sequence[Tensor]) -> Tensor:
    """float32 [3, rows * H, columns * W] in [0, 1]: a row for each of the pictures [B,4,H,W], without their alpha."""
    with torch.no_grad():
        rows = torch.cat([to_frames(column.float()) for column in columns], dim=3)
    return rows.permute(1, 0, 2, 3).flatten(1, 2)
