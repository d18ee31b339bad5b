"""Building blocks of the networks (after the generator of Johnson et al. 2016, with instance norms).

Convolutions have no bias and the initialization of He et al. 2015; norms are affine. Names and order of attributes are those of
the published files.
"""

import torch
from torch import Tensor, nn

from motionshards.trainers.precision import at_least_float32

_KERNEL = 7


def flat_block(inside: int, outside: int) -> nn.Sequential:
    """Build a 7 x 7 convolution, instance norm and ReLU, which keep the image size."""
    return _block(nn.Conv2d(inside, outside, _KERNEL, padding=_KERNEL // 2, bias=False))


def down_block(inside: int, outside: int) -> nn.Sequential:
    """Build a strided convolution, instance norm and ReLU, which halve the image."""
    return _block(nn.Conv2d(inside, outside, 4, stride=2, padding=1, bias=False))


def up_block(inside: int, outside: int) -> nn.Sequential:
    """Build a transposed convolution, instance norm and ReLU, which double the image."""
    return _block(nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1, bias=False))


class Head(nn.Sequential):
    """A 7 x 7 convolution and an activation that bounds its output, which is float32 or finer also under autocast."""

    def __init__(self, inside: int, outside: int, bound: nn.Module) -> None:
        super().__init__(head_convolution(inside, outside), bound)

    def forward(self, x: Tensor) -> Tensor:
        convolution, bound = self
        bounded: Tensor = bound(at_least_float32(convolution(x)))
        return bounded


class ResBlock(nn.Module):
    """A residual block: convolution, norm, ReLU, convolution, norm, without a final ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _drawn(nn.Conv2d(width, width, 3, padding=1, bias=False))
        self.norm1 = nn.InstanceNorm2d(width, affine=True)
        self.conv2 = _drawn(nn.Conv2d(width, width, 3, padding=1, bias=False))
        self.norm2 = nn.InstanceNorm2d(width, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.conv2(self.norm1(self.conv1(x)).relu())
        return x + self.norm2(inner)  # type: ignore[no-any-return]


def head_convolution(inside: int, outside: int) -> nn.Conv2d:
    """Build a 7 x 7 output convolution."""
    convolution = nn.Conv2d(inside, outside, _KERNEL, padding=_KERNEL // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return convolution


def with_pose(images: Tensor, pose: Tensor) -> Tensor:
    """Append poses [B,3] to images [B,C,H,W] as constant channels: [B,C+3,H,W]."""
    planes = pose.to(images.dtype)[:, :, None, None].expand(-1, -1, *images.shape[2:])
    return torch.cat([images, planes], dim=1)


def _block(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    norm = nn.InstanceNorm2d(convolution.out_channels, affine=True)
    return nn.Sequential(_drawn(convolution), norm, nn.ReLU())


def _drawn(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Conv2d | nn.ConvTranspose2d:
    nn.init.kaiming_normal_(convolution.weight)
    return convolution
