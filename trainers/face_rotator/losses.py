"""How far a picture that was made is from the target, for each pair alone."""

import torch
from torch import Tensor, nn

from motionshards.trainers.face_rotator.colour import to_frames
from motionshards.trainers.vgg import Vgg

TAPS = (3, 8, 15)
"""relu1_2, relu2_2 and relu3_3 of VGG16."""


def pixel_distance(made: Tensor, target: Tensor) -> Tensor:
    """[B], mean absolute difference of linear light, of pictures [B,4,H,W]. No data set has mattes: alpha is not compared."""
    return _distance(made[:, :3], target[:, :3])


class PerceptualDistance(nn.Module):
    """[B], mean absolute differences of layers of VGG16, summed over `TAPS`, of pictures [B,4,H,W].

    VGG16 was trained on sRGB, which is what it is shown.
    """

    def __init__(self, vgg: Vgg) -> None:
        super().__init__()
        self.vgg = vgg

    def forward(self, made: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.vgg(to_frames(target))
        found = self.vgg(to_frames(made))
        return torch.stack([_distance(*pair) for pair in zip(found, wanted, strict=True)]).sum(dim=0)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """[B], mean absolute difference, added up in float32 or finer."""
    difference = (one - other).abs()
    return difference.flatten(1).mean(dim=1, dtype=torch.promote_types(difference.dtype, torch.float32))
