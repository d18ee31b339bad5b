"""Input and output of augmentation: a batch of clips, a few frames of each."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Clips:
    """A batch of B clips with n frames each, in time order. All tensors are on one device.

    Raises:
        ValueError: the shape of a field is not the one given below
    """

    frames: Tensor
    """uint8 [B,n,H,W,3] RGB as read; float [B,n,3,H,W] in [0, 1] once augmented."""
    landmarks: Tensor | None
    """float32 [B,n,68,2], x y in pixels of the frames, iBUG 300-W order; NaN rows without a face; None: not requested."""
    aus: Tensor | None
    """float32 [B,n,17], intensities of action units, 0 to 5, NaN rows where not valid; None: not requested."""
    pose: Tensor
    """float32 [B,n,3], yaw, pitch, roll in degrees: turned to the image's right, looking up, tilted clockwise; or NaN."""
    number: Tensor
    """int64 [B,n], index of each frame among the clip's stored frames."""

    def __post_init__(self) -> None:
        channels = -1 if self.frames.dtype == torch.uint8 else 2
        if self.frames.ndim != 5 or self.frames.shape[channels] != 3:
            raise ValueError(f"frames must be uint8 [B,n,H,W,3] or float [B,n,3,H,W], not {dtype_and_shape(self.frames)}")
        rows = {"landmarks": (68, 2), "aus": (17,), "pose": (3,), "number": ()}
        for name, row in rows.items():
            field = getattr(self, name)
            if field is not None and field.shape != (*self.frames.shape[:2], *row):
                raise ValueError(f"{name} must be {[*self.frames.shape[:2], *row]}, not {dtype_and_shape(field)}")

    def __len__(self) -> int:
        return len(self.frames)


def dtype_and_shape(tensor: Tensor) -> str:
    """Format the dtype and shape of a tensor, such as `uint8 [4, 2, 256, 256, 3]`."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
