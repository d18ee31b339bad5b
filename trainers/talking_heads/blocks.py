"""Building blocks of the three networks. Attribute names are those of the published checkpoints.

Shape suffixes: B images, C channels, H and W their size.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from motionshards.trainers.precision import at_least_float32
from motionshards.trainers.talking_heads.architecture import Architecture

DEVIATION = 0.02
"""Standard deviation of the normal initialization of weights, with mean 1 for the scales of norms, else 0."""

_EPSILON = 1e-5
_ATTENTION_AFTER = 3


class Conv(nn.Module):
    """A convolution with reflection padding and spectral norm (Miyato et al. 2018): [B,inside,H,W] to [B,outside,H,W]."""

    def __init__(self, inside: int, outside: int, kernel: int) -> None:
        super().__init__()
        convolution = _drawn(inside, outside, kernel)
        self.border = kernel // 2
        # Not the newer parametrization, whose keys differ from those of the published checkpoints.
        self.conv2d = spectral_norm(convolution)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (self.border,) * 4, mode="reflect") if self.border else x
        result: Tensor = self.conv2d(padded)
        return result


class ResDown(nn.Module):
    """A downsampling residual block: [B,inside,H,W] to [B,outside,H/2,W/2], without a final ReLU."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv_r1 = Conv(inside, outside, 3)
        self.conv_r2 = Conv(outside, outside, 3)
        self.conv_l = Conv(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv_r2(F.relu(self.conv_r1(F.relu(x))))
        return F.avg_pool2d(inner, 2) + F.avg_pool2d(self.conv_l(x), 2)


class ResUp(nn.Module):
    """An upsampling residual block with AdaIN: [B,inside,H,W] to [B,outside,2H,2W]."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv_r1 = Conv(inside, outside, 3)
        self.conv_r2 = Conv(outside, outside, 3)
        self.conv_l = Conv(inside, outside, 1)

    def forward(self, x: Tensor, mean1: Tensor, std1: Tensor, mean2: Tensor, std2: Tensor) -> Tensor:
        """mean1 and std1 are [B,inside], for the input; mean2 and std2 are [B,outside], for the inner features."""
        inner = self.conv_r1(_doubled(F.relu(adain(x, mean1, std1))))
        inner = self.conv_r2(F.relu(adain(inner, mean2, std2)))
        result: Tensor = inner + self.conv_l(_doubled(x))
        return result


class StyledResidual(nn.Module):
    """A residual block [B,C,H,W] with AdaIN."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = Conv(width, width, 3)
        self.conv2 = Conv(width, width, 3)

    def forward(self, x: Tensor, mean1: Tensor, std1: Tensor, mean2: Tensor, std2: Tensor) -> Tensor:
        inner = F.relu(adain(self.conv1(x), mean1, std1))
        return x + adain(self.conv2(inner), mean2, std2)


class NormedResidual(nn.Module):
    """A residual block [B,C,H,W] with instance norms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = Conv(width, width, 3)
        self.in1 = instance_norm(width)
        self.conv2 = Conv(width, width, 3)
        self.in2 = instance_norm(width)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.in2(self.conv2(F.relu(self.in1(self.conv1(x)))))
        return x + inner


class Attention(nn.Module):
    """Self-attention over the positions of [B,C,H,W] (Zhang et al. 2019, "Self-attention GANs"), with unscaled scores."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query_conv = _drawn(width, width // 8, 1)
        self.key_conv = _drawn(width, width // 8, 1)
        self.value_conv = _drawn(width, width, 1)
        self.gamma = nn.Parameter(DEVIATION * torch.randn(1))

    def forward(self, x: Tensor) -> Tensor:
        # One head over H * W positions; fused kernels never store all scores.
        query, key, value = (conv(x).flatten(2).mT[:, None] for conv in (self.query_conv, self.key_conv, self.value_conv))
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return self.gamma * attended[:, 0].mT.reshape(x.shape) + x


class DownsamplingNetwork(nn.Module):
    """The common base of embedder and discriminator: downsampling blocks, with attention after the third."""

    def __init__(self, inside: int, architecture: Architecture) -> None:
        super().__init__()
        for number, pair in enumerate(pairwise((inside, *architecture.widths)), 1):
            self.add_module(f"conv{number}", ResDown(*pair))
            if number == _ATTENTION_AFTER:
                self.att = Attention(pair[1])

    def levels(self, x: Tensor) -> list[Tensor]:
        """Return the outputs of all blocks including attention, in order and without ReLU."""
        found = []
        for block in self.children():
            if isinstance(block, ResDown | Attention):
                x = block(x)
                found.append(x)
        return found


def adain(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Set the means and standard deviations [B,C] of the channels of `x` [B,C,H,W]: AdaIN (Huang and Belongie 2017).

    The divisor is the unbiased standard deviation over H and W plus 1e-5. Computed in float32 or finer.
    """
    exact = at_least_float32(x)
    sigma, mu = torch.std_mean(exact, dim=(2, 3), keepdim=True)
    return (std[..., None, None] * ((exact - mu) / (sigma + _EPSILON)) + mean[..., None, None]).to(x.dtype)


def instance_norm(width: int) -> nn.InstanceNorm2d:
    """Build an affine instance norm."""
    norm = nn.InstanceNorm2d(width, affine=True)
    nn.init.normal_(norm.weight, 1.0, DEVIATION)
    return norm


def max_pooled(x: Tensor) -> Tensor:
    """Take the maximum over H and W, with a ReLU: [B,C,H,W] to [B,C], float32 or finer."""
    return at_least_float32(F.relu(x.amax(dim=(2, 3))))


def _drawn(inside: int, outside: int, kernel: int) -> nn.Conv2d:
    """Build a convolution with weights from N(0, `DEVIATION`); biases have PyTorch's default, as in the published code."""
    convolution = nn.Conv2d(inside, outside, kernel)
    nn.init.normal_(convolution.weight, std=DEVIATION)
    return convolution


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2)
