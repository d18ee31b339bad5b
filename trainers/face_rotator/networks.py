"""Morpher, rotator and combiner.

Shape suffixes: B images, F features. Masks blend an image with a color: `mask * image + (1 - mask) * color`.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from motionshards.trainers.face_rotator.architecture import CHANNELS, POSE, Architecture
from motionshards.trainers.face_rotator.blocks import (
    Head,
    ResBlock,
    down_block,
    flat_block,
    head_convolution,
    up_block,
    with_pose,
)

NAMES = ("morpher", "rotator", "combiner")
"""The networks, in the order of training and of inference."""


class Morphed(NamedTuple):
    """Output of the morpher, all [B,4,H,W]: the image, the mask of the source, and the generated color."""

    image: Tensor
    mask: Tensor
    color: Tensor


class Rotated(NamedTuple):
    """Output of the rotator.

    painted: [B,4,H,W], the source with `color` where `mask` is 0
    moved: [B,4,H,W], the source warped by the flow
    color, mask: [B,4,H,W]
    change: [B,H,W,2], predicted difference of the flow from the identity
    flow: [B,H,W,2], source coordinates x and y of each pixel; -1 and 1 are the centers of the outermost pixels
    """

    painted: Tensor
    moved: Tensor
    color: Tensor
    mask: Tensor
    change: Tensor
    flow: Tensor


class Combined(NamedTuple):
    """Output of the combiner, all [B,4,H,W].

    image: the result: `blend`, with `color` where `retouch` is 0
    blend: the two images of the rotator blended; `mask` is the weight of the painted one
    """

    image: Tensor
    blend: Tensor
    mask: Tensor
    retouch: Tensor
    color: Tensor


class Body(nn.Module):
    """Downsampling, residual and upsampling blocks: [B,7,H,W] to features [B,F,H,W]."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        blocks: list[nn.Module] = [flat_block(CHANNELS + POSE, shape.width)]
        blocks += [down_block(*pair) for pair in pairwise(shape.widths)]
        blocks += [ResBlock(shape.widths[-1]) for _ in range(shape.blocks)]
        blocks += [up_block(*pair) for pair in pairwise(reversed(shape.widths))]
        self.module_list = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.module_list:
            x = block(x)
        return x


class SkippingBody(nn.Module):
    """The same as a U-Net (Ronneberger et al. 2015), with skip connections to all upsampling blocks but the first.

    [B,11,H,W] to [B,F,H,W].
    """

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        widths = shape.widths
        self.downward_modules = nn.ModuleList([flat_block(2 * CHANNELS + POSE, widths[0])])
        self.downward_modules.extend(down_block(*pair) for pair in pairwise(widths))
        self.bottleneck_modules = nn.ModuleList(ResBlock(widths[-1]) for _ in range(shape.blocks))
        # Module i maps from the size of widths[i] to that of widths[i - 1]; module 0 keeps the size.
        self.upsampling_modules = nn.ModuleList([flat_block(2 * widths[0], widths[0])])
        self.upsampling_modules.extend(up_block(2 * inside, outside) for outside, inside in pairwise(widths[:-1]))
        self.upsampling_modules.append(up_block(widths[-1], widths[-2]))

    def forward(self, x: Tensor) -> Tensor:
        levels = []
        for block in self.downward_modules:
            x = block(x)
            levels.append(x)
        for block in self.bottleneck_modules:
            x = block(x)
        x = self.upsampling_modules[-1](x)
        for block, level in zip(reversed(self.upsampling_modules[:-1]), reversed(levels[:-1]), strict=True):
            x = block(torch.cat([x, level], dim=1))
        return x


class Morpher(nn.Module):
    """Opens and closes eyes and mouth."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.main_body = Body(shape)
        self.color_change = Head(shape.width, CHANNELS, nn.Tanh())
        self.alpha_mask = Head(shape.width, CHANNELS, nn.Sigmoid())

    def forward(self, source: Tensor, pose: Tensor) -> Morphed:
        """Morph images [B,4,H,W] to left eye, right eye and mouth [B,3]."""
        features = self.main_body(with_pose(source, pose))
        color, mask = self.color_change(features), self.alpha_mask(features)
        return Morphed(_kept(mask, source, color), mask, color)


class Rotator(nn.Module):
    """Turns the head in two ways."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.main_body = Body(shape)
        self.pumarola_color_change = Head(shape.width, CHANNELS, nn.Tanh())
        self.pumarola_alpha_mask = Head(shape.width, CHANNELS, nn.Sigmoid())
        self.zhou_grid_change = head_convolution(shape.width, 2)

    def forward(self, source: Tensor, pose: Tensor) -> Rotated:
        """Rotate the heads in images [B,4,H,W] by pitch, yaw and roll [B,3]."""
        features = self.main_body(with_pose(source, pose))
        color, mask = self.pumarola_color_change(features), self.pumarola_alpha_mask(features)
        change = self.zhou_grid_change(features).to(color.dtype).permute(0, 2, 3, 1)
        flow = still_flow(source) + change
        return Rotated(_kept(mask, source, color), warp(source, flow), color, mask, change, flow)


class Combiner(nn.Module):
    """Blends the two images of a rotator, and retouches the result."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.main_body = SkippingBody(shape)
        self.combine_alpha_mask = Head(shape.width, CHANNELS, nn.Sigmoid())
        self.retouch_alpha_mask = Head(shape.width, CHANNELS, nn.Sigmoid())
        self.retouch_color_change = Head(shape.width, CHANNELS, nn.Tanh())

    def forward(self, painted: Tensor, moved: Tensor, pose: Tensor) -> Combined:
        """Combine images [B,4,H,W] of the pose [B,3]."""
        features = self.main_body(with_pose(torch.cat([painted, moved], dim=1), pose))
        mask, retouch = self.combine_alpha_mask(features), self.retouch_alpha_mask(features)
        color = self.retouch_color_change(features)
        blend = _kept(mask, painted, moved)
        return Combined(_kept(retouch, blend, color), blend, mask, retouch, color)


def make_networks(shape: Architecture, *, still: bool = True) -> dict[str, nn.Module]:
    """Build the networks by name. still: initialize the flow as the identity, see docs/face-rotator.md."""
    rotator = Rotator(shape)
    if still:
        nn.init.zeros_(rotator.zhou_grid_change.weight)
    return {"morpher": Morpher(shape), "rotator": rotator, "combiner": Combiner(shape)}


def is_trained(network: nn.Module) -> bool:
    """Return whether a network was trained: biases of new norms are exactly 0, and the first step changes them."""
    return any(bool(tensor.any()) for name, tensor in network.named_parameters() if name.endswith(".bias"))


def still_flow(images: Tensor) -> Tensor:
    """Return the identity flow [1,H,W,2] for images [B,C,H,W]."""
    height, width = images.shape[2:]
    y, x = (torch.linspace(-1, 1, side, dtype=images.dtype, device=images.device) for side in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]


def warp(images: Tensor, flow: Tensor) -> Tensor:
    """Sample images [B,C,H,W] bilinearly at `flow` [B,H,W,2], with border padding."""
    return F.grid_sample(images, flow, padding_mode="border", align_corners=True)


def _kept(mask: Tensor, image: Tensor, color: Tensor) -> Tensor:
    return mask * image + (1 - mask) * color
