"""The exportable hull area equals that of Qhull, also if points coincide or are on a line."""

import numpy as np
import pytest
import torch
from conformance import rng
from scipy.spatial import ConvexHull
from torch import Tensor

from motionshards.trainers.fomm.hull import MIN_AREA, hull_area
from motionshards.trainers.fomm.keypoints import Keypoints
from motionshards.trainers.fomm.normalize import normalize_keypoints


def qhull(points: Tensor) -> list[float]:
    return [float(ConvexHull(row.double().numpy()).volume) for row in points]


def drawn(tag: str, *shape: int) -> Tensor:
    """float32, like keypoints."""
    return torch.from_numpy(rng(tag).uniform(-1, 1, shape)).float()


@pytest.mark.parametrize("count", [3, 4, 5, 10, 20, 68])
def test_random_points_have_the_area_that_qhull_finds(count: int) -> None:
    points = drawn(f"hull/{count}", 40, count, 2)
    np.testing.assert_allclose(hull_area(points).numpy(), qhull(points), rtol=2e-6)


@pytest.mark.parametrize("step", [0.5, 0.25, 2.0**-7, 2.0**-20])
def test_points_of_a_coarse_grid_with_many_collinear_and_coinciding_ones(step: float) -> None:
    """With 30 points on a 5 x 5 grid nearly all edges contain points, and most points coincide with another."""
    draw = rng(f"hull grid/{step}")
    corners = torch.tensor([[-2.0, -2.0], [2.0, -1.0], [0.0, 2.0]]).expand(200, -1, -1)
    points = torch.cat([torch.from_numpy(draw.integers(-2, 3, (200, 30, 2))).float(), corners], dim=1) * step / 2
    mixed = points[:, torch.from_numpy(draw.permutation(33))]
    np.testing.assert_allclose(hull_area(mixed).numpy(), qhull(points), rtol=1e-12)


def test_known_polygons() -> None:
    square = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    inside = torch.tensor([[0.0, 0], [0.5, 0.5], [1, 0.25], [-1, -1]])  # within, on an edge, and a corner again
    assert hull_area(torch.cat([square, inside])[None]).tolist() == [4.0]
    assert hull_area(torch.cat([inside, square.flip(0)])[None]).tolist() == [4.0]
    assert hull_area(torch.tensor([[[0.0, 0], [0.5, 0], [0, 0.5]]])).tolist() == [0.125]


@pytest.mark.parametrize(
    "points",
    [
        [[0.3, -0.2]] * 10,
        [[0.3, -0.2], [0.7, 0.1]],
        [[0.3, -0.2]],
        [[x / 10, 0.5] for x in range(10)],
        [[-0.75, y / 10] for y in range(10)],
        [[x / 16, x / 32 - 0.5] for x in range(-9, 10)],
        [[0.5, 0.5], [0.5, 0.5], [-0.5, 0.25]],
    ],
    ids=["one place", "two points", "one point", "level", "upright", "sloping", "two places"],
)
def test_points_on_a_line_have_no_area(points: list[list[float]]) -> None:
    assert hull_area(torch.tensor([points])).tolist() == [0.0]


def test_points_close_to_a_line_never_lose_an_edge() -> None:
    """A lost edge would change the area by up to a quarter; signs computed in float32 do lose some."""
    draw = rng("hull hair")
    along = np.sort(draw.uniform(-1, 1, (500, 8)))
    hair = draw.uniform(-1, 1, (500, 8)) * 10.0 ** draw.uniform(-9, -5, (500, 1))
    sides = np.stack([along, 0.5 + 0.3 * along + hair], axis=-1)
    far = np.tile([[-1.0, -1.0], [1.0, -1.0], [1.0, 0.8], [-1.0, 0.2]], (500, 1, 1))
    points = torch.from_numpy(np.concatenate([sides, far], axis=1)).float()
    areas = hull_area(points).numpy()
    np.testing.assert_allclose(areas, qhull(points), rtol=0, atol=1e-6)


def test_order_and_direction_do_not_matter() -> None:
    points = drawn("hull order", 20, 12, 2)
    mirrored = points * torch.tensor([-1.0, 1.0])
    area = hull_area(points)
    torch.testing.assert_close(hull_area(points.flip(1)), area, rtol=0, atol=2e-6)
    torch.testing.assert_close(hull_area(mirrored), area, rtol=0, atol=2e-6)
    torch.testing.assert_close(hull_area(points.flip(2)), area, rtol=0, atol=2e-6)


def test_the_same_hulls_are_degenerate_as_without_a_graph() -> None:
    """`normalize_keypoints` must have the same limit for degenerate hulls."""
    source = Keypoints(value=torch.tensor([[[0.0, 0], [1, 0], [0, 1]]]), jacobian=None)
    for area in (0.9 * MIN_AREA, 1.1 * MIN_AREA):
        first = Keypoints(value=torch.tensor([[[0.0, 0], [1, 0], [0, 2 * area]]]), jacobian=None)
        moved = Keypoints(value=first.value + 0.25, jacobian=None)
        found = normalize_keypoints(source, moved, first, adapt_scale=True).value - source.value
        expected = 0.25 * (hull_area(source.value) / hull_area(first.value)).sqrt().item() if area > MIN_AREA else 0.25
        assert found.max().item() == pytest.approx(expected, rel=1e-5)
