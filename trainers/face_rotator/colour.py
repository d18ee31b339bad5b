"""Pictures as files have them, and as the networks do.

Files hold sRGB (IEC 61966-2-1); the networks see linear light, since they blend, and each channel from -1 to 1. Alpha is no
light: it is only taken from [0, 1] to [-1, 1].
"""

import torch
from torch import Tensor

_KNEE = 0.0031308  # of linear light: below, the curve is a line


def to_linear(srgb: Tensor) -> Tensor:
    """Values [0, 1] of sRGB as shares of the brightest light."""
    return torch.where(srgb <= 12.92 * _KNEE, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Tensor) -> Tensor:
    """Inverse of `to_linear`. Its gradient is finite everywhere."""
    curved = 1.055 * linear.clamp(min=_KNEE) ** (1 / 2.4) - 0.055
    return torch.where(linear <= _KNEE, 12.92 * linear, curved)


def to_pictures(frames: Tensor) -> Tensor:
    """Frames [B,3,H,W], sRGB in [0, 1], as the networks see them, [B,4,H,W]: opaque."""
    return with_alpha(to_linear(frames), torch.ones_like(frames[:, :1]))


def with_alpha(linear: Tensor, alpha: Tensor) -> Tensor:
    """Linear light [B,3,H,W] and alpha [B,1,H,W], both in [0, 1], as the networks see them."""
    return torch.cat([linear, alpha], dim=1) * 2 - 1


def light(pictures: Tensor) -> Tensor:
    """The linear light [B,3,H,W] in [0, 1] of pictures of the networks [B,4,H,W]."""
    return ((pictures[:, :3] + 1) / 2).clamp(0, 1)


def to_frames(pictures: Tensor) -> Tensor:
    """Frames [B,3,H,W], sRGB in [0, 1], of pictures of the networks [B,4,H,W]; alpha is left out."""
    return to_srgb(light(pictures))
