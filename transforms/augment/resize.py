"""Cutting a window out of each clip and resizing it, antialiased, with the landmarks following.

A window is x0, y0, x1, y1 in edge coordinates: pixel i lies between i and i + 1, so the whole picture is 0, 0, width, height. It
need not be whole pixels. Every clip has its own, so the resize is two matrix products with a matrix of weights per clip.
"""

import torch
from torch import Tensor


def resize_frames(frames: Tensor, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """The windows of float frames [B,n,3,H,W] at `size` = (height, width), dtype as given; float32 inside, also under autocast.

    `windows`: float [B,4]. Where a window is larger than `size`, each new pixel is the mean of what it covers under a triangle
    twice as wide; else bilinear. That is torch's `interpolate` with `mode="bilinear", antialias=True`, for which the picture
    ends at its edges; here it goes on where the window ends inside it.
    """
    x0, y0, x1, y1 = windows.to(frames.device, torch.float32).unbind(1)
    down, across = _weights(y0, y1, frames.shape[3], size[0]), _weights(x0, x1, frames.shape[4], size[1])
    with torch.autocast(frames.device.type, enabled=False):
        narrowed = torch.matmul(frames.float().flatten(1, 3), across.transpose(1, 2))
        result = torch.matmul(down[:, None], narrowed.view(len(frames), -1, frames.shape[3], size[1]))
    return result.view(*frames.shape[:3], *size).to(frames.dtype)


def resize_landmarks(landmarks: Tensor, windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Landmarks [B,n,68,2] in pixels of the frames, in pixels of what `resize_frames` makes of them. NaN stays NaN."""
    windows = windows.to(landmarks).view(-1, 1, 1, 4)
    start, scale = windows[..., :2], landmarks.new_tensor([size[1], size[0]]) / (windows[..., 2:] - windows[..., :2])
    return (landmarks + 0.5 - start) * scale - 0.5


def _weights(start: Tensor, end: Tensor, length: int, target: int) -> Tensor:
    """float32 [B,target,length]: the share of each old pixel in each new one, for windows from `start` to `end`, [B]."""
    step = ((end - start) / target).view(-1, 1, 1)
    centre = start.view(-1, 1, 1) + step * (torch.arange(target, device=start.device).view(-1, 1) + 0.5)
    away = (torch.arange(length, device=start.device) + 0.5 - centre).abs()
    weights = (1 - away / step.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(-1, keepdim=True)
