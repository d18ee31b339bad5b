"""Training data of the face rotator: colors, poses, expressions, and the choice of pairs."""

import math

import numpy as np
import pytest
import torch
from face_rotator_inputs import batch, face
from torch import Tensor

from motionshards.trainers.face_rotator.color import light, to_frames, to_images, to_linear, to_srgb, with_alpha
from motionshards.trainers.face_rotator.config import CONFIGS
from motionshards.trainers.face_rotator.pairs import posed_pairs
from motionshards.trainers.face_rotator.pose import expression, rotation
from motionshards.transforms.augment.flip import mirror_landmarks, mirror_pose

NAN = math.nan


def test_linear_light_and_srgb_are_inverses() -> None:
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(to_srgb(to_linear(values)), values, rtol=0, atol=1e-7)
    torch.testing.assert_close(to_linear(to_srgb(values)), values, rtol=0, atol=1e-7)
    assert to_linear(torch.tensor(0.5)).item() == pytest.approx(0.2140411)
    assert to_linear(torch.tensor(188 / 255)).item() == pytest.approx(0.5, abs=0.003)


def test_gradients_of_colors_are_finite_for_black() -> None:
    images = torch.tensor([-1.0, -0.999, 0, 1]).view(1, 1, 1, 4).repeat(1, 4, 1, 1).requires_grad_()
    to_frames(images).sum().backward()
    assert images.grad is not None and images.grad.isfinite().all()


def test_images_are_linear_and_opaque_and_alpha_is_linear() -> None:
    frames = torch.rand(2, 3, 4, 4)
    images = to_images(frames)
    assert (images[:, 3] == 1).all()
    torch.testing.assert_close(images[:, :3], 2 * to_linear(frames) - 1)
    torch.testing.assert_close(to_frames(images), frames, rtol=0, atol=1e-5)
    half = with_alpha(torch.full((1, 3, 1, 1), 0.25), torch.full((1, 1, 1, 1), 0.5))
    assert half.flatten().tolist() == [-0.5, -0.5, -0.5, 0]
    assert light(half).flatten().tolist() == [0.25] * 3


def test_a_rotation_is_pitch_yaw_and_roll_by_fifteen_degrees() -> None:
    pose = torch.tensor([[[1.0, 2, 3], [16, -1, 10.5]]])
    torch.testing.assert_close(rotation(pose), torch.tensor([[-0.2, 1.0, 0.5]]))
    mirrored = mirror_pose(pose, torch.tensor([True]))
    torch.testing.assert_close(rotation(mirrored), torch.tensor([[-0.2, -1.0, -0.5]]))


def test_differences_of_angles_are_nearly_the_rotation_between_two_poses() -> None:
    """Check the error bound in `rotation` for the extreme poses of pairs."""

    def matrix(yaw: float, pitch: float, roll: float) -> np.ndarray:
        """Rz(roll) Rx(-pitch) Ry(-yaw), as poses are defined."""
        (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in np.radians([-yaw, -pitch, roll]))
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        return np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ about_x @ about_y

    furthest = 0.0
    for source in np.array(np.meshgrid([-3, 0, 3], [-3, 0, 3], [-3, 0, 3])).reshape(3, -1).T:
        for change in np.array(np.meshgrid([-15, 0, 15], [-15, 0, 15], [-15, 0, 15])).reshape(3, -1).T:
            between = matrix(*(source + change)) @ matrix(*source).T
            off = matrix(*change).T @ between
            furthest = max(furthest, np.degrees(np.arccos(np.clip((np.trace(off) - 1) / 2, -1, 1))))
    assert 1.0 < furthest < 1.5


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (face(), (0, 0, 0)),
        (face(left=0.15), (1, 0, 0)),
        (face(right=0.1), (0, 1, 0)),
        (face(left=0.2, right=0.225), (0.5, 0.25, 0)),
        (face(mouth=0.25), (0, 0, 0.5)),
        (face(mouth=0.9), (0, 0, 1)),
    ],
)
def test_expressions_of_eyes_and_mouth(points: Tensor, expected: tuple[float, float, float]) -> None:
    assert expression(points).tolist() == pytest.approx(expected, abs=1e-5)
    assert expression(points * 3 + 7).tolist() == pytest.approx(expected, abs=1e-5), "at any size and place"
    mirrored = mirror_landmarks(points[None, None], 64, torch.tensor([True]))[0, 0]
    left, right, mouth = expected
    assert expression(mirrored).tolist() == pytest.approx((right, left, mouth), abs=1e-5)


def test_expressions_without_landmarks_are_nan() -> None:
    assert expression(torch.full((2, 68, 2), NAN)).isnan().all()


def test_pairs_of_rotator_and_morpher_by_expression() -> None:
    nothing = torch.full((68, 2), NAN)
    sources = [face(), face(), face(), face(), nothing, face(mouth=0.5)]
    targets = [face(), face(mouth=0.02), face(mouth=0.2), face(left=0.2), face(), nothing]
    samples = batch(sources, targets, 6.0)
    rotator = posed_pairs(samples, CONFIGS["rotator"].training)
    assert rotator.fit.tolist() == [1, 1, 0, 0, 0, 0]
    assert rotator.pose.tolist() == [[0, pytest.approx(0.4), 0]] * 6
    morpher = posed_pairs(samples, CONFIGS["morpher"].training)
    assert morpher.fit.tolist() == [0, 0, 1, 1, 0, 0]
    expected = [(0, 0, 0), (0, 0, 0.04), (0, 0, 0.4), (0.5, 0, 0), (0, 0, 0), (0, 0, 0)]
    assert [tuple(row) for row in morpher.pose.tolist()] == [pytest.approx(row, abs=1e-5) for row in expected]


def test_missing_poses_do_not_spread_nan() -> None:
    samples = batch([face(), face()], [face(), face()])
    samples.pose[1] = NAN
    pairs = posed_pairs(samples, CONFIGS["rotator"].training)
    assert pairs.pose.isfinite().all() and pairs.fit.tolist() == [1, 0]
