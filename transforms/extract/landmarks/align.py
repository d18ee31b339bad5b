"""Alignment of faces to the template of LatentSync (Li et al. 2024), after StyleSync (Guan et al. 2023)."""

import numpy as np
from numpy.typing import NDArray

# Of the 68 points: the left brow, the right brow, and the nose between its bridge and wings.
_GROUPS = ([17, 18, 19, 20, 21], [22, 23, 24, 25, 26], [29, 30, 31, 35])
# Target positions of the three in a box of 75 x 100 units, which is enlarged 2.8 times for an image of 256 px.
_TEMPLATE, _BOX = np.array([[17.0, 20], [58, 20], [37.5, 40]]), np.array([75, 100])
_ENLARGED, _AT_PX = 2.8, 256


def brows_and_nose(points_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """The three points used for alignment, means of landmarks [T,68,2]: float64 [T,3,2]."""
    return np.stack([points_px[:, group].mean(axis=1, dtype=np.float64) for group in _GROUPS], axis=1)


def latentsync_affine(three_px: NDArray[np.float64], res: int) -> NDArray[np.float64]:
    """Affine maps [T,2,3] from pixels of images to pixels of aligned images of `res` x `res`; pixel centers are whole numbers.

    A map is the similarity that takes the centroid, the spread and the orientation of the three points to those of the template
    (least squares for the rotation, Procrustes), followed by stretching the upright box of the template to a square.

    three_px: float64 [T,3,2], result of `brows_and_nose`

    Rows are NaN if a point is NaN or all three points of an image coincide.
    """
    unit = _ENLARGED * res / _AT_PX
    # Points as complex numbers: a similarity is a product and a sum.
    points, template = three_px[..., 0] + 1j * three_px[..., 1], (_TEMPLATE * unit) @ (1, 1j)
    center, template_center = points.mean(axis=1), template.mean()
    spread, template_spread = points - center[:, None], template - template_center
    turn = (spread.conj() * template_spread).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = turn / np.abs(turn) * np.linalg.norm(template_spread) / np.linalg.norm(spread, axis=1)
        shift = template_center - factor * center
    similar = np.stack([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]).transpose(2, 0, 1)
    stretch = res / np.floor(_BOX * unit)
    affine: NDArray[np.float64] = similar * stretch[:, None]
    affine[..., 2] += (stretch - 1) / 2
    return affine
