"""The random parameters of augmentation, drawn on the host before any of it is applied."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Augmentation parameters of B clips. `draws[a:b]` are the draws of `clips[a:b]`."""

    flip: Tensor
    """bool [B]: whether the clip is flipped horizontally."""
    time_flip: Tensor
    """bool [B]: whether the order of the frames is reversed."""
    color: Tensor
    """float32 [B,4]: factors of brightness, contrast, saturation, and turns of the hue, the arguments of `color.jitter`."""
    order: Tensor
    """int64 [B,4]: the order of those four, each row a permutation."""
    window: Tensor
    """float32 [B,3]: side of the window relative to the image; its position, x from 0 (left) to 1 (right), and y likewise."""

    def __len__(self) -> int:
        return len(self.flip)

    def __getitem__(self, rows: slice) -> "Draws":
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def to(self, device: torch.device | str) -> "Draws":
        """A copy on another device. Augmentation reads draws on the host: leave them there, or it synchronizes the GPU."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)})
