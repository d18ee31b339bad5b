"""Distances of generated images from their targets, for each pair."""

import torch
from torch import Tensor, nn

from motionshards.trainers.face_rotator.color import to_frames
from motionshards.trainers.vgg import Vgg

TAPS = (3, 8, 15)
"""relu1_2, relu2_2 and relu3_3 of VGG16."""


def pixel_distance(generated: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference [B] of linear light of images [B,4,H,W]. Alpha is not compared, since datasets have none."""
    return _distance(generated[:, :3], target[:, :3])


class PerceptualDistance(nn.Module):
    """Mean absolute differences [B] of layers of VGG16, summed over `TAPS`, for images [B,4,H,W].

    Images are converted to sRGB, on which VGG16 was trained.
    """

    def __init__(self, vgg: Vgg) -> None:
        super().__init__()
        self.vgg = vgg

    def forward(self, generated: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            expected = self.vgg(to_frames(target))
        found = self.vgg(to_frames(generated))
        return torch.stack([_distance(*pair) for pair in zip(found, expected, strict=True)]).sum(dim=0)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Mean absolute difference [B], summed in float32 or finer."""
    difference = (one - other).abs()
    return difference.flatten(1).mean(dim=1, dtype=torch.promote_types(difference.dtype, torch.float32))
