"""Head pose from 68 landmarks by perspective-n-point: the rigid motion of `FACE_68_MM` that best explains the image.

Camera frame: x right, y down, z away from the viewer, in mm; image in pixels, pixel centers at integers, principal
point the image's center ((w - 1) / 2, (h - 1) / 2). Model axes coincide with the camera's when the head faces it.

Angles are in degrees, all 0 when the face looks along the optical axis at the camera, as defined by the usual 68-point models:

* yaw    > 0: the face turns to the image's right (the viewer's right, the person's left)
* pitch  > 0: the face looks up
* roll   > 0: the head tilts clockwise in the image

    x_camera = Rz(roll) Rx(-pitch) Ry(-yaw) x_model + t

with Rx, Ry, Rz the usual right-handed rotations: intrinsically roll, then pitch, then yaw about the vertical axis of the
head. Rotating the image about its center therefore changes only roll, and the singular pose is looking straight up
or down, which no talking head does; yaw may reach the profile. yaw and roll are in [-180, 180], pitch in [-90, 90].

Orientation is relative to the camera's axes, not to the line of sight: a face at the edge of a wide view that looks
at the lens has a non-zero yaw. For a face crop the two agree to a few degrees.

Method, per frame and vectorized over frames: the scaled-orthographic solution (the "POS" of DeMenthon & Davis,
"Model-based object pose in 25 lines of code", IJCV 1995), its two rows orthonormalized by SVD, refined by a fixed
number of Levenberg-Marquardt steps on the weighted reprojection error. Rotations are updated by the exponential map
(Rodrigues' formula) from the left. The number of steps never depends on the data, so that the angles of a frame do not
depend on the other frames in the batch. Steps that do not lower the error are rejected, including those that put a point
behind the camera.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.transforms.extract.quality.face_model import FACE_68_MM

_Real = NDArray[np.floating[Any]]

FOCAL_PER_SIDE = 3.0
"""Focal length over max(width, height). A choice, not a measurement: crops have no calibration. Outer eye corners
that span a third of the image are then 0.8 m away, a typical distance for a person speaking to the camera;
the often used 1.0 would put them at 27 cm and exaggerate the perspective."""

_JAW_WEIGHT = 0.1  # moves with the mouth, and its detected contour slides over the head as it rotates
_MOUTH_WEIGHT = 0.15  # moves with speech: lips by more than 10 mm, against 1 to 3 mm of eyelids and brows
RIGIDITY = np.ones(68)
"""float64 [68]: weight of each landmark's squared error: 1 for eyes, brows and nose, less for mouth and jaw."""
RIGIDITY[0:17] = _JAW_WEIGHT
RIGIDITY[48:68] = _MOUTH_WEIGHT
RIGIDITY.setflags(write=False)

_NEAR_MM, _FAR_MM = 200.0, 1e5  # bounds of the initial distance, so that the whole head is in front of the camera
_STEPS = 4  # within 0.001 degree of the minimum for 1 px of noise, yaw to 85 degrees, 46 px between the eye corners
_FLATTEST = 1e-3  # minimum ratio of the variances along the short and the long axis of the points
_SMALLEST_PX = 0.5  # minimum standard deviation of the points along their long axis
_DIAGONAL = np.arange(6)
_STILL = [*range(27, 36), 36, 39, 42, 45]  # nose and corners of the eyes
_EYE_CORNERS_MM = FACE_68_MM[45, 0] - FACE_68_MM[36, 0]
_MODEL_ROWS = np.ascontiguousarray(FACE_68_MM.T)


def head_pose(
    points_px: NDArray[np.float32], size_px: tuple[int, int], weights: NDArray[np.floating] | None = None
) -> NDArray[np.float32]:
    """Yaw, pitch and roll of each face, float32 [T, 3]: the first result of `fitted_pose`."""
    return fitted_pose(points_px, size_px, weights)[0]


def fitted_pose(
    points_px: NDArray[np.float32], size_px: tuple[int, int], weights: NDArray[np.floating] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Yaw, pitch and roll of each face, float32 [T, 3], degrees, signs as in the module's docstring; and the fit's residual.

    The residual, float32 [T], is the root mean square distance in the image between the landmarks of the nose and the corners
    of the eyes and their positions in the fitted model, relative to the distance between the model's outer eye corners in
    frontal view at its distance from the camera. Lids, brows, mouth and jaw are excluded because they move.

    `points_px`: [T, 68, 2], x then y in pixels of an image of `size_px` = (width, height). `weights`: [68] or
    [T, 68], not negative, multiplies `RIGIDITY`, for instance landmark scores. A row is NaN if any of its points or
    weights is not finite, or if the points coincide or are collinear.
    """
    points = np.asarray(points_px, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (68, 2):
        raise ValueError(f"points_px must be [T, 68, 2], not {list(points.shape)}")
    weight = _weights(weights, len(points))
    focal_px = FOCAL_PER_SIDE * max(size_px)
    image = (points - (np.array(size_px) - 1) / 2) / focal_px
    angles, residual = np.full((len(points), 3), np.nan, np.float32), np.full(len(points), np.nan, np.float32)
    solvable = np.flatnonzero(_solvable(image, weight, _SMALLEST_PX / focal_px))
    if len(solvable):
        start = _orthographic_pose(image[solvable], weight[solvable])
        pose = _refined(image[solvable], weight[solvable], start)
        angles[solvable], residual[solvable] = euler_angles(pose[..., :3]), _residual(image[solvable], pose)
    return angles, residual


def _residual(image: _Real, pose: _Real) -> _Real:
    """The residual of `fitted_pose`, [T]; `image` [T, 68, 2] in units of the focal length."""
    placed = (pose[..., :3] @ _MODEL_ROWS + pose[..., 3:])[..., _STILL]
    off = image[:, _STILL] - _transposed(placed[:, :2] / placed[:, 2:])
    eye_corners = _EYE_CORNERS_MM / placed[:, 2].mean(axis=1)
    residual: _Real = np.sqrt((off**2).sum(axis=2).mean(axis=1)) / eye_corners
    return residual


def _weights(weights: NDArray[np.floating] | None, count: int) -> _Real:
    """Normalized weights [T, 68]: each row sums to 1, or is all 0 if unusable (not finite, or all zeros)."""
    factors = np.ones(68) if weights is None else np.asarray(weights, dtype=np.float64)
    if factors.shape not in ((68,), (count, 68)):
        raise ValueError(f"weights must be [68] or [{count}, 68], not {list(factors.shape)}")
    if (factors < 0).any():
        raise ValueError("weights must not be negative")
    weight = np.broadcast_to(factors * RIGIDITY, (count, 68))
    total = weight.sum(axis=1, keepdims=True)
    share: _Real = np.zeros((count, 68))
    np.divide(weight, total, out=share, where=np.isfinite(total) & (total > 0))
    return share


def _solvable(image: _Real, weight: _Real, smallest: float) -> NDArray[np.bool_]:
    """bool [T]: whether points are finite and spread over an area, and the weighted landmarks are not coplanar."""
    bounded = np.asarray(np.abs(image).max(axis=(1, 2)) < 1e3)  # False for NaN and infinity
    variance = np.linalg.eigvalsh(_covariance(np.where(bounded[:, None, None], image, 0.0), weight))
    area = (variance[:, 1] > smallest**2) & (variance[:, 0] > _FLATTEST * variance[:, 1])
    depth = np.linalg.eigvalsh(_covariance(FACE_68_MM[None], weight))
    return np.asarray(bounded & area & (depth[:, 0] > _FLATTEST * depth[:, 2]), dtype=np.bool_)


def _covariance(points: _Real, weight: _Real) -> _Real:
    """Weighted covariance [T, D, D] of points [T or 1, 68, D]."""
    centered = points - weight[:, None] @ points
    return _transposed(centered) @ (centered * weight[..., None])


def _orthographic_pose(image: _Real, weight: _Real) -> _Real:
    """Initial rotation and translation (mm), [T, 3, 4], for `image` [T, 68, 2] in units of the focal length.

    POS: with all depths equal, image = scale * (two rows of R) * model + offset is linear in its unknowns.
    """
    model_mean, image_mean = weight[:, None] @ FACE_68_MM, weight[:, None] @ image
    model = FACE_68_MM - model_mean
    weighted = model * weight[..., None]
    affine = _transposed(np.linalg.solve(_transposed(model) @ weighted, _transposed(weighted) @ (image - image_mean)))
    left, stretch, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right  # the nearest orthonormal rows
    rotation = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], axis=1)
    depth = 1 / np.clip(stretch.mean(axis=1, keepdims=True), 1 / _FAR_MM, 1 / _NEAR_MM)
    center = np.concatenate([image_mean[:, 0] * depth, depth], axis=1)[..., None]
    return np.concatenate([rotation, center - rotation @ _transposed(model_mean)], axis=2)


def _refined(image: _Real, weight: _Real, pose: _Real) -> _Real:
    """The pose after Levenberg-Marquardt, with Marquardt's damping of the Hessian's diagonal, one factor per frame."""
    root = np.sqrt(weight)
    damping = np.full(len(image), 1e-4)
    products = _normal_equations(image, root, pose)
    for _ in range(_STEPS):
        step = _damped_step(products, damping)
        trial = np.concatenate([_exponential(step[:, :3]) @ pose[..., :3], pose[..., 3:] + step[:, 3:, None]], axis=2)
        trial_products = _normal_equations(image, root, trial)
        better = trial_products[:, 6, 6] < products[:, 6, 6]
        pose = np.where(better[:, None, None], trial, pose)
        products = np.where(better[:, None, None], trial_products, products)
        damping = damping * np.where(better, 0.1, 10.0)
    return pose


def _damped_step(products: _Real, damping: _Real) -> _Real:
    hessian = products[:, :6, :6].copy()
    hessian[:, _DIAGONAL, _DIAGONAL] *= 1 + damping[:, None]
    return np.linalg.solve(hessian, -products[:, :6, 6:])[..., 0]


def _normal_equations(image: _Real, root: _Real, pose: _Real) -> _Real:
    """Inner products of the columns of [J | e], [T, 7, 7]: J'J, J'e, and the squared error e'e in the last corner.

    `root`: square roots of the weights. The six unknowns: a rotation vector applied from the left, radians, then the
    translation, mm. With p = (x, y, z) = R model, and (u, v) the image of p + t: d(p + t) = vector x p + dt.
    """
    placed = pose[..., :3] @ _MODEL_ROWS + pose[..., 3:]
    depth = placed[:, 2]
    inverse = 1 / np.maximum(depth, 1.0)
    u, v = placed[:, 0] * inverse, placed[:, 1] * inverse
    scale = root * inverse
    x, y, z = ((placed - pose[..., 3:]) * scale[:, None]).swapaxes(0, 1)
    rows = np.zeros((len(pose), 7, 2, 68))
    rows[:, 0, 0], rows[:, 0, 1] = -u * y, -z - v * y
    rows[:, 1, 0], rows[:, 1, 1] = z + u * x, v * x
    rows[:, 2, 0], rows[:, 2, 1] = -y, x
    rows[:, 3, 0], rows[:, 4, 1] = scale, scale
    rows[:, 5, 0], rows[:, 5, 1] = -u * scale, -v * scale
    rows[:, 6, 0], rows[:, 6, 1] = (u - image[..., 0]) * root, (v - image[..., 1]) * root
    flat = rows.reshape(-1, 7, 136)
    products = flat @ _transposed(flat)
    products[depth.min(axis=1) < 1.0] = np.inf  # a point at or behind the camera: such a step is always rejected
    return products


def _exponential(vector: _Real) -> _Real:
    """Rotation matrices [T, 3, 3] of rotation vectors [T, 3], radians, by Rodrigues' formula.

    I + (sin a / a) K + ((1 - cos a) / a^2) K^2, with the angle a and the cross product matrix K of the vector.
    """
    x, y, z = vector.T
    angle = np.sqrt(x * x + y * y + z * z + 1e-30)[:, None, None]  # avoids a division by 0 at the identity
    cross = np.zeros((len(vector), 3, 3))
    cross[:, 2, 1], cross[:, 0, 2], cross[:, 1, 0] = x, y, z
    cross -= _transposed(cross)
    rotation: _Real = np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * (cross @ cross)
    return rotation


def euler_angles(rotation: _Real) -> _Real:
    """Yaw, pitch and roll, [T, 3] in degrees, of rotation matrices [T, 3, 3] = Rz(roll) Rx(-pitch) Ry(-yaw)."""
    yaw = np.arctan2(rotation[:, 2, 0], rotation[:, 2, 2])
    pitch = -np.arcsin(np.clip(rotation[:, 2, 1], -1, 1))
    roll = np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1])
    degrees: _Real = np.degrees(np.stack([yaw, pitch, roll], axis=1))
    return degrees


def _transposed(matrices: _Real) -> _Real:
    return np.swapaxes(matrices, -1, -2)
