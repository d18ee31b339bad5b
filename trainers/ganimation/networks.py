"""The generator and the critic (section 4.1 of the paper, and the published code).

Neither uses batch statistics, so the output for an image is independent of the rest of the batch.

Shape suffixes: B images, H and W their size, h and w that of the critic's last features.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from motionshards.trainers.ganimation.architecture import AUS, Architecture
from motionshards.trainers.precision import at_least_float32


@dataclass(frozen=True, eq=False)
class Painting:
    """Output of the generator, float32 or finer also under autocast, whose rounding would be visible.

    color: [B,3,H,W] in [-1, 1]
    attention: [B,1,H,W] in [0, 1], 1 where the image is kept
    """

    color: Tensor
    attention: Tensor

    def over(self, image: Tensor) -> Tensor:
        """Blend with an image [B,3,H,W] (equation 1 of the paper)."""
        return self.attention * image + (1 - self.attention) * self.color


class ResidualBlock(nn.Module):
    """A residual block with two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = _normed(_conv3(channels), channels), _normed(_conv3(channels), channels)
        self.main = nn.Sequential(*first, nn.ReLU(), *second)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.main(x)
        return x + residual


class Generator(nn.Module):
    """Maps images and target action units to a `Painting`."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        width = config.width
        self.main = nn.Sequential(
            *_normed(nn.Conv2d(3 + AUS, width, 7, padding=3, bias=False), width),
            nn.ReLU(),
            *_half(width),
            *_half(2 * width),
            *(ResidualBlock(4 * width) for _ in range(config.residuals)),
            *_double(4 * width),
            *_double(2 * width),
        )
        # Sequences of one module, for the published keys; the activations after them are computed in float32.
        self.img_reg = nn.Sequential(nn.Conv2d(width, 3, 7, padding=3, bias=False))
        self.attetion_reg = nn.Sequential(nn.Conv2d(width, 1, 7, padding=3, bias=False))
        self.apply(_begin)

    def forward(self, image: Tensor, condition: Tensor) -> Painting:
        """Edit images [B,3,H,W] in [-1, 1] by conditions [B,17]."""
        spread = condition[:, :, None, None].expand(-1, -1, *image.shape[2:])
        features = self.main(torch.cat([image, spread.to(image.dtype)], dim=1))
        color, attention = at_least_float32(self.img_reg(features)), at_least_float32(self.attetion_reg(features))
        return Painting(torch.tanh(color), torch.sigmoid(attention))


class Critic(nn.Module):
    """Scores patches of images and predicts action units; the discriminator of the published code."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        widths = [3, *(config.width << number for number in range(config.halvings))]
        layers = [(nn.Conv2d(*pair, 4, stride=2, padding=1), nn.LeakyReLU(0.01)) for pair in pairwise(widths)]
        self.main = nn.Sequential(*(module for layer in layers for module in layer))
        self.conv1 = nn.Conv2d(widths[-1], 1, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(widths[-1], AUS, config.last_px, bias=False)
        self.apply(_begin)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores of patches of images [B,3,H,W], [B,h,w] and higher for real ones, and conditions [B,17]."""
        features = self.main(image)
        return at_least_float32(self.conv1(features)).squeeze(1), at_least_float32(self.conv2(features)).flatten(1)


def _conv3(channels: int) -> nn.Module:
    return nn.Conv2d(channels, channels, 3, padding=1, bias=False)


def _half(channels: int) -> tuple[nn.Module, ...]:
    return *_normed(nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False), 2 * channels), nn.ReLU()


def _double(channels: int) -> tuple[nn.Module, ...]:
    transposed = nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1, bias=False)
    return *_normed(transposed, channels // 2), nn.ReLU()


def _normed(convolution: nn.Module, channels: int) -> tuple[nn.Module, nn.Module]:
    return convolution, nn.InstanceNorm2d(channels, affine=True)


def _begin(module: nn.Module) -> None:
    """Initialize as published: weights of convolutions from N(0, 0.02), biases 0, norms as the identity."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
