"""What a face detector finds in a picture, and the overlap of boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pictures = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
"""Pictures of any sizes, or [T,H,W,3] of one."""


@dataclass(frozen=True, slots=True)
class Detections:
    """The faces of one picture, best first.

    boxes_px: float32 [M,4], x0 y0 x1 y1 in pixels of the picture that was searched
    scores: float32 [M], the detector's own confidence
    """

    boxes_px: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes_px)


def iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of each box of `a` [A,4] with each of `b` [B,4]: float64 [A,B]. Empty boxes overlap nothing."""
    a, b = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(min=0).prod(axis=-1)
    union = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - shared
    overlap: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap
