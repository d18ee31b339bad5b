"""Aligns driving landmarks with another person's face, whose different shape is the known weakness of driving by landmarks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MIN_PX = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Adaptation:
    """A scaling and a translation, x y in pixels, without rotation, since the head pose is part of the motion.

    from_px, to_px: [2], a point and its image
    """

    scale: float
    from_px: NDArray[np.float64]
    to_px: NDArray[np.float64]

    @classmethod
    def between(cls, driving_px: NDArray[np.float32], person_px: NDArray[np.float32]) -> "Adaptation":
        """Align the mean shape of a driver's landmarks [N,68,2] with that of a person's, [T,68,2].

        Matches the centers, and the root mean square distances from them.
        """
        (middle, extent), (target, size) = _placed(driving_px), _placed(person_px)
        return cls(scale=size / max(extent, _MIN_PX), from_px=middle, to_px=target)

    def __call__(self, points_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Transform landmarks [...,68,2]."""
        moved: NDArray[np.float32] = ((points_px - self.from_px) * self.scale + self.to_px).astype(np.float32)
        return moved


def _placed(points_px: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Return the center of the mean shape, and its root mean square distance from it."""
    shape = points_px.astype(np.float64).mean(axis=0)
    middle: NDArray[np.float64] = shape.mean(axis=0)
    return middle, float(np.sqrt(np.square(shape - middle).sum(axis=1).mean()))
