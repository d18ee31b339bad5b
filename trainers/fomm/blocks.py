"""Building blocks of the networks.

Names of attributes and their order are those of the published checkpoints.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from motionshards.trainers.precision import at_least_float32, unrounded


class SameBlock(nn.Module):
    """Convolution, batch norm, ReLU: [B,inside,H,W] to [B,outside,H,W]."""

    def __init__(self, inside: int, outside: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class DownBlock(SameBlock):
    """A `SameBlock` followed by average pooling by 2."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(super().forward(x), 2)


class UpBlock(SameBlock):
    """A `SameBlock` after nearest-neighbor upsampling by 2."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2))


class ResBlock(nn.Module):
    """A pre-activation residual block: twice batch norm, ReLU and convolution (He et al. 2016, "Identity mappings")."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.conv1(F.relu(self.norm1(x)))
        inner = self.conv2(F.relu(self.norm2(inner)))
        return x + inner


class Encoder(nn.Module):
    """Downsampling blocks with up to `most` channels. Returns the input and the output of each block."""

    def __init__(self, inside: int, expansion: int, most: int, blocks: int) -> None:
        super().__init__()
        widths = [inside, *(min(most, expansion * 2 ** (i + 1)) for i in range(blocks))]
        self.down_blocks = nn.ModuleList(DownBlock(*pair) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = [x]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        return levels


class Decoder(nn.Module):
    """Upsampling blocks, each followed by a skip connection from the encoder.

    width: channels of the output
    """

    def __init__(self, inside: int, expansion: int, most: int, blocks: int) -> None:
        super().__init__()
        outer = [min(most, expansion * 2**i) for i in range(blocks + 1)]
        self.up_blocks = nn.ModuleList(
            UpBlock((1 if i == blocks - 1 else 2) * outer[i + 1], outer[i]) for i in reversed(range(blocks))
        )
        self.width = outer[0] + inside

    def forward(self, levels: list[Tensor]) -> Tensor:
        x = levels[-1]
        for block, level in zip(self.up_blocks, reversed(levels[:-1]), strict=True):
            x = torch.cat([block(x), level], dim=1)
        return x


class Hourglass(nn.Module):
    """Encoder and decoder: [B,inside,H,W] to [B,width,H,W]; H and W are multiples of 2 ** blocks."""

    def __init__(self, inside: int, expansion: int, most: int, blocks: int) -> None:
        super().__init__()
        self.encoder = Encoder(inside, expansion, most, blocks)
        self.decoder = Decoder(inside, expansion, most, blocks)
        self.width = self.decoder.width

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.encoder(x))
        return result


class AntiAliasDown(nn.Module):
    """Downsamples images [B,C,H,W] by `scale`, 1 over an integer: a Gaussian blur, then every (1 / scale)-th pixel.

    Images are padded with zeros. The kernel is computed in float32, like the published one, and is a buffer, since checkpoints
    contain it.
    """

    weight: Tensor

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.step = round(1 / scale)
        sigma = (self.step - 1) / 2
        self.padding = round(4 * sigma)
        # On torch's meta device, where networks are built to compare shapes, arange imports the compiler: three seconds.
        offsets = torch.arange(-self.padding, self.padding + 1, dtype=torch.float32, device="cpu")
        profile = torch.exp(-(offsets**2) / (2 * sigma**2))
        kernel = profile[:, None] * profile
        self.register_buffer("weight", (kernel / kernel.sum()).expand(channels, 1, -1, -1).clone())

    def forward(self, images: Tensor) -> Tensor:
        def reduce(exact: Tensor) -> Tensor:
            return F.conv2d(exact, self.weight, stride=self.step, padding=self.padding, groups=len(self.weight))

        return unrounded(reduce, images)


def reduction(channels: int, scale: float) -> nn.Module:
    """Build the module that downsamples images by `scale`; for 1 it is the identity without a kernel."""
    return nn.Identity() if scale == 1 else AntiAliasDown(channels, scale)


def coordinate_grid(size: tuple[int, int], like: Tensor) -> Tensor:
    """Return (x, y) of the pixels of an image of `size` = (height, width): [height,width,2], with dtype and device of `like`."""
    y, x = (torch.linspace(-1, 1, length, dtype=like.dtype, device=like.device) for length in size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def gaussian(points: Tensor, size: tuple[int, int], variance: float) -> Tensor:
    """Return exp(-d^2 / (2 variance)) of the distances d of pixels from `points` [B,K,2]: [B,K,height,width]."""
    offsets = coordinate_grid(size, points) - points[:, :, None, None]
    squared = (offsets * offsets).sum(-1)  # LiteRT's converter does not support square()
    return torch.exp(-squared / (2 * variance))


def warp(frames: Tensor, flow: Tensor, *, align_corners: bool) -> Tensor:
    """Sample `frames` [B,C,H,W] bilinearly at `flow` [B,h,w,2] with zero padding, in the dtype of `frames`.

    Computed in float32 or finer, so that coordinates are not rounded with the features.
    """
    dtype = torch.promote_types(at_least_float32(frames).dtype, flow.dtype)
    sampled = F.grid_sample(frames.to(dtype), flow.to(dtype), padding_mode="zeros", align_corners=align_corners)
    return sampled.to(frames.dtype)


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps [B,C,h,w] bilinearly to `size` = (height, width), with `align_corners=False` as published."""
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
