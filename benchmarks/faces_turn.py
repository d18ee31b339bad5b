"""Faces rotated about the vertical axis by a 3D warp, for angles that the corpus lacks.

Landmarks get the depth of the generic head fitted to them. Triangles between them, and between rings around the face that rotate
less the farther out they are, are drawn from back to front. Occluded parts are stretched.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from motionshards.transforms.extract.quality.face_model import FACE_68_MM

Rgb = NDArray[np.uint8]
Reals = NDArray[np.float64]

_AXIS_MM = 90.0  # distance of the neck's axis behind the tip of the nose
# Rings around the face: radius relative to that of the face, share of the rotation, and depth.
_RINGS = ((1.3, 0.9, 85.0), (1.7, 0.4, _AXIS_MM))
_SPOKES, _BORDER = 24, 9


def turned(rgb: Rgb, points_px: NDArray[np.float32], angle_deg: float) -> Rgb:
    """Rotate the face with landmarks [68,2] in an image uint8 [S,S,3]; a positive angle adds to `yaw_deg`."""
    source, depth, share, axis = _mesh(points_px.astype(np.float64), len(rgb))
    angle, x = np.radians(angle_deg), source[:, 0] - axis
    target = source.copy()
    target[:, 0] += share * (axis + x * np.cos(angle) - depth * np.sin(angle) - source[:, 0])
    return _drawn(rgb, source, target, x * np.sin(angle) + depth * np.cos(angle))


def _mesh(points: Reals, side: int) -> tuple[Reals, Reals, Reals, float]:
    """Vertices [n,2], their depth behind the axis [n], their share of the rotation [n], and the axis's x, in pixels."""
    (across, down), scale = _fitted(points)
    forward = np.cross(across, down)
    depth = scale * (FACE_68_MM @ forward - _AXIS_MM)
    middle = points[[0, 16]].mean(axis=0)
    radius = np.array([np.linalg.norm(points[16] - points[0]) / 2, np.linalg.norm(points[8] - middle)])
    around = np.linspace(0, 2 * np.pi, _SPOKES, endpoint=False)
    spokes = radius * np.stack([np.cos(around), np.sin(around)], axis=1)
    edge = np.linspace(0, side - 1, _BORDER)
    border = np.array([(x, y) for x in edge for y in edge if x in (0, side - 1) or y in (0, side - 1)])
    rings = [(middle + far * spokes).clip(1, side - 2) for far, _, _ in _RINGS]
    depths = [depth, *(np.full(_SPOKES, scale * (mm - _AXIS_MM)) for _, _, mm in _RINGS), np.zeros(len(border))]
    shares = [np.ones(68), *(np.full(_SPOKES, share) for _, share, _ in _RINGS), np.zeros(len(border))]
    axis = float(points[30, 0] + scale * _AXIS_MM * across[2])
    return np.concatenate([points, *rings, border]), np.concatenate(depths), np.concatenate(shares), axis


def _fitted(points: Reals) -> tuple[Reals, float]:
    """The camera's right and down in the head's axes, float64 [2,3], and pixels per mm, by a scaled-orthographic fit."""
    head, image = FACE_68_MM - FACE_68_MM.mean(axis=0), points - points.mean(axis=0)
    rows = np.linalg.lstsq(head, image, rcond=None)[0].T
    u, sizes, v = np.linalg.svd(rows, full_matrices=False)
    return u @ v, float(sizes.mean())


def _drawn(rgb: Rgb, source: Reals, target: Reals, depth: Reals) -> Rgb:
    """Draw the triangles of a mesh over `source` at `target`, the farthest first."""
    image, triangles = rgb.copy(), Delaunay(source).simplices
    for triangle in triangles[np.argsort(-depth[triangles].mean(axis=1))]:
        old, new = source[triangle].astype(np.float32), target[triangle].astype(np.float32)
        if np.linalg.det(old[1:] - old[0]) * np.linalg.det(new[1:] - new[0]) > 1:  # still seen from the front
            _draw(image, rgb, old, new)
    return image


def _draw(image: Rgb, rgb: Rgb, old: NDArray[np.float32], new: NDArray[np.float32]) -> None:
    low = np.floor(new.min(axis=0)).astype(int).clip(0)
    high = np.ceil(new.max(axis=0)).astype(int).clip(None, len(rgb) - 1) + 1
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    if min(size) <= 0:
        return
    shift = low.astype(np.float32)
    warped = cv2.warpAffine(rgb, cv2.getAffineTransform(old, new - shift), size, flags=cv2.INTER_LINEAR)
    mask = cv2.fillConvexPoly(np.zeros(size[::-1], np.uint8), np.round(new - shift).astype(np.int32), 1).astype(np.bool_)
    image[low[1] : high[1], low[0] : high[0]][mask] = warped[mask]
