"""Conversion between the images of files and those of the networks.

Files contain sRGB (IEC 61966-2-1). The networks use linear light, since they blend images, with each channel in [-1, 1]. Alpha is
only scaled from [0, 1] to [-1, 1].
"""

import torch
from torch import Tensor

_KNEE = 0.0031308  # in linear light; the curve is linear below


def to_linear(srgb: Tensor) -> Tensor:
    """Convert sRGB in [0, 1] to linear light in [0, 1]."""
    return torch.where(srgb <= 12.92 * _KNEE, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Tensor) -> Tensor:
    """Convert back from `to_linear`. The gradient is finite everywhere."""
    curved = 1.055 * linear.clamp(min=_KNEE) ** (1 / 2.4) - 0.055
    return torch.where(linear <= _KNEE, 12.92 * linear, curved)


def to_images(frames: Tensor) -> Tensor:
    """Convert frames [B,3,H,W], sRGB in [0, 1], to opaque images of the networks [B,4,H,W]."""
    return with_alpha(to_linear(frames), torch.ones_like(frames[:, :1]))


def with_alpha(linear: Tensor, alpha: Tensor) -> Tensor:
    """Convert linear light [B,3,H,W] and alpha [B,1,H,W], both in [0, 1], to images of the networks [B,4,H,W]."""
    return torch.cat([linear, alpha], dim=1) * 2 - 1


def light(images: Tensor) -> Tensor:
    """Return the linear light [B,3,H,W] in [0, 1] of images of the networks [B,4,H,W]."""
    return ((images[:, :3] + 1) / 2).clamp(0, 1)


def to_frames(images: Tensor) -> Tensor:
    """Convert images of the networks [B,4,H,W] to frames [B,3,H,W], sRGB in [0, 1]; alpha is ignored."""
    return to_srgb(light(images))
