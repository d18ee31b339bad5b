"""Relative motion transfer: the changes of driving keypoints are applied to those of the source (section 3.4)."""

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from motionshards.trainers.fomm.hull import MIN_AREA
from motionshards.trainers.fomm.keypoints import Keypoints, inverse_2x2, product_2x2

logger = logging.getLogger("motionshards")


def normalize_keypoints(
    source: Keypoints,
    driving: Keypoints,
    first_driving: Keypoints,
    *,
    adapt_scale: bool = False,
    relative_movement: bool = True,
    relative_jacobian: bool = True,
) -> Keypoints:
    """Return the target keypoints of the source for B driving images.

    They are (d - d_0) s + x for the keypoints d of the driving image, d_0 of the first driving image and x of the source, with
    Jacobians J_d J_d0^-1 J_x; s is the square root of the ratio of the hull areas of x and d_0.

    source, first_driving: keypoints of one image, or one for each driving image
    adapt_scale: if false, s is 1. It is also 1, with a warning, if the keypoints of either image are on a line
    relative_movement: if false, the driving keypoints and their Jacobians are returned unchanged
    relative_jacobian: if false, only the keypoints are relative
    """
    if not relative_movement:
        return driving
    moved = driving.value - first_driving.value
    if adapt_scale:
        moved = moved * _scales(source.value, first_driving.value)
    jacobian = driving.jacobian
    if relative_jacobian and driving.jacobian is not None:
        jacobian = _relative_jacobian(source.jacobian, driving.jacobian, first_driving.jacobian)
    return Keypoints(value=moved + source.value, jacobian=jacobian)


def hull_areas(points: Tensor) -> NDArray[np.float64]:
    """Areas [B] of the convex hulls of keypoints [B,K,2]; 0 for points on a line."""
    return np.array([_area(row) for row in points.detach().double().cpu().numpy()])


def _area(points: NDArray[np.float64]) -> float:
    if len(points) < 3:
        return 0.0
    try:
        return float(ConvexHull(points).volume)  # in 2D, its "volume" is the area
    except QhullError:
        return 0.0


def _scales(source: Tensor, first_driving: Tensor) -> Tensor:
    """s, [B,1,1]."""
    source_areas, driving_areas = np.broadcast_arrays(hull_areas(source), hull_areas(first_driving))
    flat = np.minimum(source_areas, driving_areas) < MIN_AREA
    if flat.any():
        logger.warning("motion is not scaled in %d of %d pairs, whose keypoints are on a line", flat.sum(), len(flat))
    ratios = np.where(flat, 1.0, source_areas) / np.where(flat, 1.0, driving_areas)
    return torch.from_numpy(np.sqrt(ratios)).to(first_driving)[:, None, None]


def _relative_jacobian(source: Tensor | None, driving: Tensor, first_driving: Tensor | None) -> Tensor:
    """Return J_d J_d0^-1 J_x [B,K,2,2]; a singular J_d0 leads to large values, see `inverse_2x2`."""
    assert source is not None and first_driving is not None, "a detector estimates Jacobians for all images or for none"
    return product_2x2(product_2x2(driving, inverse_2x2(first_driving)), source)
