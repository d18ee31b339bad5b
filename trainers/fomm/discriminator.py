"""The multi-scale discriminator (as in Wang et al. 2018, "pix2pixHD").

Shape suffixes: B images, C channels, K keypoints, h and w the size of the last features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from motionshards.trainers.fomm.architecture import Architecture
from motionshards.trainers.fomm.blocks import gaussian
from motionshards.trainers.fomm.keypoints import Keypoints


@dataclass(frozen=True, kw_only=True, eq=False)
class DiscriminatorOutput:
    """Output of a discriminator at one scale."""

    features: list[Tensor]
    """Output of each block."""
    score: Tensor
    """[B,1,h,w], trained towards 1 for real and 0 for generated images."""


class Block(nn.Module):
    """Convolution without padding, instance norm, leaky ReLU and average pooling."""

    def __init__(self, inside: int, outside: int, *, normed: bool, halved: bool, spectral: bool) -> None:
        super().__init__()
        self.conv = _convolution(inside, outside, 4, spectral)
        self.norm = nn.InstanceNorm2d(outside, affine=True) if normed else None
        self.halved = halved

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = F.leaky_relu(x if self.norm is None else self.norm(x), 0.2)
        return F.avg_pool2d(x, 2) if self.halved else x


class Discriminator(nn.Module):
    """Scores images at one scale, optionally with Gaussians at the driving image's keypoints as further channels."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        network = config.discriminator
        self.variance = network.variance if network.keypoints else None
        inside = config.channels + network.keypoints * config.keypoints
        widths = [inside, *(min(network.max_features, network.block_expansion * 2 ** (i + 1)) for i in range(network.blocks))]
        self.down_blocks = nn.ModuleList(
            Block(*pair, normed=i > 0, halved=i < network.blocks - 1, spectral=network.spectral_norm)
            for i, pair in enumerate(pairwise(widths))
        )
        self.conv = _convolution(widths[-1], 1, 1, network.spectral_norm)

    def forward(self, images: Tensor, keypoints: Keypoints) -> DiscriminatorOutput:
        """Score images [B,C,height,width] with their keypoints."""
        if self.variance is not None:
            heat = gaussian(keypoints.value, (images.shape[2], images.shape[3]), self.variance)
            images = torch.cat([images, heat.to(images.dtype)], dim=1)
        features = [images]
        for block in self.down_blocks:
            features.append(block(features[-1]))
        return DiscriminatorOutput(features=features[1:], score=self.conv(features[-1]))


class MultiScaleDiscriminator(nn.Module):
    """A `Discriminator` for each scale, with the names of the published checkpoints: `discs.1`, `discs.0-5`."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        self.scales = config.discriminator.scales
        self.discs = nn.ModuleDict({scale_name(scale): Discriminator(config) for scale in self.scales})

    def forward(self, pyramid: Mapping[float, Tensor], keypoints: Keypoints) -> list[DiscriminatorOutput]:
        """Score images [B,C,height * scale,width * scale], given by scale."""
        return [self.discs[scale_name(scale)](pyramid[scale], keypoints) for scale in self.scales]


def scale_name(scale: float) -> str:
    """Return the module name of a scale, the same for 1 and 1.0; module names must not contain dots."""
    return f"{scale:g}".replace(".", "-")


def _convolution(inside: int, outside: int, kernel: int, spectral: bool) -> nn.Module:
    convolution = nn.Conv2d(inside, outside, kernel)
    # Not the newer parametrization, whose keys differ from those of the published checkpoints.
    return spectral_norm(convolution) if spectral else convolution
