"""The random parameters of augmentation, drawn on the host before anything is done."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """What happens to each of B clips. `draws[a:b]` are the draws of `clips[a:b]`."""

    flip: Tensor
    """bool [B]: left and right are swapped."""
    time_flip: Tensor
    """bool [B]: the frames come in reverse order."""
    colour: Tensor
    """float32 [B,4]: factors of brightness, contrast, saturation, and turns of the hue, as `colour.jitter` takes them."""
    order: Tensor
    """int64 [B,4]: the order of those four, each row a permutation."""
    window: Tensor
    """float32 [B,3]: the window's side as a share of the picture's; its place across, 0 left to 1 right, and down."""

    def __len__(self) -> int:
        return len(self.flip)

    def __getitem__(self, rows: slice) -> "Draws":
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def to(self, device: torch.device | str) -> "Draws":
        """The same on another device. Augmentation looks at them on the host, so that a GPU need not wait: leave them there."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)})
