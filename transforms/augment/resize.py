"""Antialiased crop and resize with a window per clip, for frames and landmarks.

A window is x0, y0, x1, y1 in edge coordinates, also fractional: pixel i extends from i to i + 1, and the whole image is 0, 0,
width, height. As windows differ between clips, the resize is two matrix products with a weight matrix per clip.
"""

import torch
from torch import Tensor


def resize_frames(frames: Tensor, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize the windows of float frames [B,n,3,H,W] to `size` = (height, width); keeps the dtype, computes in float32.

    `windows`: float [B,4]. Where a window is larger than `size`, each output pixel is the mean under a triangle twice as wide as
    the area it covers; else bilinear. This is torch's `interpolate` with `mode="bilinear", antialias=True`, except that
    pixels outside the window contribute at its edges, where the image has some.
    """
    x0, y0, x1, y1 = windows.to(frames.device, torch.float32).unbind(1)
    down, across = _weights(y0, y1, frames.shape[3], size[0]), _weights(x0, x1, frames.shape[4], size[1])
    with torch.autocast(frames.device.type, enabled=False):
        narrowed = torch.matmul(frames.float().flatten(1, 3), across.transpose(1, 2))
        result = torch.matmul(down[:, None], narrowed.view(len(frames), -1, frames.shape[3], size[1]))
    return result.view(*frames.shape[:3], *size).to(frames.dtype)


def resize_landmarks(landmarks: Tensor, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Map landmarks [B,n,68,2] from pixels of the frames to pixels of the output of `resize_frames`. NaN stays NaN."""
    windows = windows.to(landmarks).view(-1, 1, 1, 4)
    start, scale = windows[..., :2], landmarks.new_tensor([size[1], size[0]]) / (windows[..., 2:] - windows[..., :2])
    return (landmarks + 0.5 - start) * scale - 0.5


def _weights(start: Tensor, end: Tensor, length: int, target: int) -> Tensor:
    """Weight of each input pixel in each output pixel, float32 [B,target,length], for windows from `start` to `end`, [B]."""
    step = ((end - start) / target).view(-1, 1, 1)
    center = start.view(-1, 1, 1) + step * (torch.arange(target, device=start.device).view(-1, 1) + 0.5)
    away = (torch.arange(length, device=start.device) + 0.5 - center).abs()
    weights = (1 - away / step.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(-1, keepdim=True)
