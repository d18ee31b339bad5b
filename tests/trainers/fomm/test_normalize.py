"""Relative motion of keypoints: invariants, and degenerate hulls."""

from dataclasses import replace

import pytest
import torch

from motionshards.trainers.fomm.keypoints import Keypoints
from motionshards.trainers.fomm.normalize import hull_areas, normalize_keypoints

SQUARE = torch.tensor([[[0.0, 0.0], [0.2, 0.0], [0.2, 0.2], [0.0, 0.2], [0.1, 0.1]]], dtype=torch.float64)


def keypoints(value: torch.Tensor, turn: float = 0.0) -> Keypoints:
    turned = torch.tensor([[1.0, turn], [-turn, 1.2]], dtype=torch.float64)
    return Keypoints(value=value, jacobian=turned.expand(*value.shape, 2).contiguous())


def test_the_first_driving_image_does_not_move_the_source() -> None:
    source, first = keypoints(SQUARE + 0.3, 0.5), keypoints(2 * SQUARE, 0.1)
    found = normalize_keypoints(source, first, first, adapt_scale=True)
    torch.testing.assert_close(found.value, source.value)
    torch.testing.assert_close(found.jacobian, source.jacobian)


def test_motion_is_scaled_by_the_sizes_of_the_hulls() -> None:
    source, first = keypoints(SQUARE), keypoints(2 * SQUARE)
    driving = keypoints((2 * SQUARE + torch.tensor([0.1, -0.3])).expand(3, -1, -1))
    moved = normalize_keypoints(source, driving, first, adapt_scale=True).value - source.value
    torch.testing.assert_close(moved, torch.tensor([0.05, -0.15]).double().expand(3, 5, 2))
    plain = normalize_keypoints(source, driving, first).value - source.value
    torch.testing.assert_close(plain, torch.tensor([0.1, -0.3]).double().expand(3, 5, 2))


def test_each_driving_image_may_have_its_own_source() -> None:
    sources, first = keypoints(torch.cat([SQUARE, 3 * SQUARE])), keypoints(SQUARE)
    found = normalize_keypoints(sources, keypoints(SQUARE.expand(2, -1, -1) + 0.1), first, adapt_scale=True)
    torch.testing.assert_close(found.value - sources.value, torch.tensor([[[0.1]], [[0.3]]]).double().expand(2, 5, 2))


def test_absolute_jacobians_and_positions() -> None:
    source, driving, first = keypoints(SQUARE, 0.5), keypoints(SQUARE + 0.1, 0.3), keypoints(SQUARE, 0.1)
    assert normalize_keypoints(source, driving, first, relative_movement=False) is driving
    assert normalize_keypoints(source, driving, first, relative_jacobian=False).jacobian is driving.jacobian
    zeroth = normalize_keypoints(*(replace(points, jacobian=None) for points in (source, driving, first)))
    assert zeroth.jacobian is None


def test_areas_of_hulls() -> None:
    line = torch.tensor([[0.0, 0.0], [0.1, 0.1], [0.3, 0.3], [-0.4, -0.4], [0.2, 0.2]], dtype=torch.float64)
    triangle = torch.tensor([[0.0, 0.0], [0.4, 0.0], [0.0, 0.4], [0.1, 0.1], [0.05, 0.3]], dtype=torch.float64)
    found = hull_areas(torch.stack([SQUARE[0], line, triangle, torch.zeros(5, 2)]))
    assert found.tolist() == pytest.approx([0.04, 0, 0.08, 0])
    assert hull_areas(SQUARE[:, :2]).tolist() == [0]


@pytest.mark.parametrize("flat", ["source", "first"])
def test_keypoints_on_a_line_disable_scaling_with_a_warning(flat: str, caplog: pytest.LogCaptureFixture) -> None:
    line = SQUARE * torch.tensor([1.0, 0.0])
    source, first = keypoints(line if flat == "source" else SQUARE), keypoints(line if flat == "first" else SQUARE)
    with caplog.at_level("WARNING"):
        found = normalize_keypoints(source, replace(first, value=first.value + 0.1), first, adapt_scale=True)
    torch.testing.assert_close(found.value, source.value + 0.1)
    assert "not scaled in 1 of 1 pairs" in caplog.text


def test_a_singular_first_jacobian_leads_to_finite_values() -> None:
    first = replace(keypoints(SQUARE), jacobian=torch.zeros(1, 5, 2, 2, dtype=torch.float64))
    found = normalize_keypoints(keypoints(SQUARE), keypoints(SQUARE), first)
    assert found.jacobian is not None and found.jacobian.isfinite().all()
