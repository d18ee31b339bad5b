"""Results of a face detector, and the overlap of boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
"""Images of different sizes, or [T,H,W,3] of one size."""


@dataclass(frozen=True, slots=True)
class Detections:
    """The faces of one image, highest score first.

    boxes_px: float32 [M,4], x0 y0 x1 y1 in pixels of the searched image
    scores: float32 [M], the detector's confidence
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
