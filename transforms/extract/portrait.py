"""The square of a portrait: scale and center from eyes and mouth, as in FFHQ, but upright and constant over time."""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EYES = (slice(36, 42), slice(42, 48))
_MOUTH_CORNERS = [48, 54]


def portrait_square(points: NDArray[np.floating[Any]], pixel_aspect: Fraction, scale: float = 1.0) -> NDArray[np.float64]:
    """One square for a face in several frames, as displayed, edges x0 y0 x1 y1 in the pixels of `points`: float64 [4].

    In each frame, with the centers a and b of the eyes and the midpoint m of the corners of the mouth,

        side = 2 * max(2.0 * |b - a|, 1.8 * |m - (a + b) / 2|)
        center = (a + b) / 2 + 0.1 * (m - (a + b) / 2)

    The result uses the median of both over the frames. Source: `recreate_aligned_images` in github.com/NVlabs/ffhq-dataset
    (Karras, Laine and Aila, CVPR 2019), which also rotates the square with the face.

    points: [T,68,2], iBUG 300-W
    pixel_aspect: width over height of a pixel
    scale: factor for the side; 1 is the scale of FFHQ
    """
    shown = points * np.array([float(pixel_aspect), 1.0])
    left, right = (shown[:, eye].mean(axis=1) for eye in _EYES)
    eyes, mouth = (left + right) / 2, shown[:, _MOUTH_CORNERS].mean(axis=1)
    apart, down = (np.linalg.norm(way, axis=1) for way in (right - left, mouth - eyes))
    side = scale * np.median(2 * np.maximum(2.0 * apart, 1.8 * down))
    center = np.median(eyes + 0.1 * (mouth - eyes), axis=0)
    square: NDArray[np.float64] = np.concatenate([center - side / 2, center + side / 2])
    square /= np.array([float(pixel_aspect), 1.0] * 2)
    return square


def moved_to_contain(square: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move the square by the shortest distance to contain a box, both float64 [4]; center it on the box if it is too small."""
    least, most = box[2:] - square[2:], box[:2] - square[:2]
    way: NDArray[np.float64] = np.where(least <= most, np.clip(0, least, most), (least + most) / 2)
    return square + np.tile(way, 2)
