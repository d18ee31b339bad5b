"""How a driving video moves a person of another shape: by how its keypoints change, not by where they are (section 3.4)."""

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from motionshards.trainers.fomm.hull import LEAST_AREA
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
    """The keypoints that the source is given in place of those of B driving pictures.

    (d - d_0) s + x for the keypoints d of the driving picture, d_0 of the first one and x of the source, and
    J_d J_d0^-1 J_x for the jacobians; s is the root of the ratio of areas of the hulls of x and d_0.

    source, first_driving: of one picture, or one for each driving picture
    adapt_scale: else s is 1. Also where the keypoints of either picture lie on a line: that is told in the log.
    relative_movement: else the driving keypoints are taken as they are, jacobians included
    relative_jacobian: else only the keypoints are relative
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
    """Areas of the convex hulls of keypoints [B,K,2], [B]; 0 where they lie on a line."""
    return np.array([_area(row) for row in points.detach().double().cpu().numpy()])


def _area(points: NDArray[np.float64]) -> float:
    if len(points) < 3:
        return 0.0
    try:
        return float(ConvexHull(points).volume)  # in the plane its "volume" is the area
    except QhullError:
        return 0.0


def _scales(source: Tensor, first_driving: Tensor) -> Tensor:
    """s, [B,1,1]."""
    source_areas, driving_areas = np.broadcast_arrays(hull_areas(source), hull_areas(first_driving))
    flat = np.minimum(source_areas, driving_areas) < LEAST_AREA
    if flat.any():
        logger.warning("keypoints lie on a line in %d of %d pairs: their movement is not scaled", flat.sum(), len(flat))
    ratios = np.where(flat, 1.0, source_areas) / np.where(flat, 1.0, driving_areas)
    return torch.from_numpy(np.sqrt(ratios)).to(first_driving)[:, None, None]


def _relative_jacobian(source: Tensor | None, driving: Tensor, first_driving: Tensor | None) -> Tensor:
    """J_d J_d0^-1 J_x, [B,K,2,2]; a singular J_d0 gives large numbers, see `inverse_2x2`."""
    assert source is not None and first_driving is not None, "one detector finds jacobians in all pictures or in none"
    return product_2x2(product_2x2(driving, inverse_2x2(first_driving)), source)
