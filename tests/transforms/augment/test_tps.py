"""The random warp against its formula, finite differences, autograd and a bilinear sampler implemented here."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from motionshards.transforms.augment.tps import Warp, pixel_grid

Array = NDArray[np.float64]


def warp(count: int = 2, seed: int = 0, sigma_affine: float = 0.1, sigma_tps: float = 0.02) -> Warp:
    """A stronger warp than usual, in float64."""
    drawn = Warp.draw(count, torch.Generator().manual_seed(seed), sigma_affine, sigma_tps)
    return Warp(theta=drawn.theta.double(), control=drawn.control.double())


def scattered(count: int = 2, n: int = 50, seed: int = 1) -> Tensor:
    """float64 [count,n,2] in [-1.2, 1.2]; the last 25 are the control points, where the kernel is not smooth."""
    points = torch.rand(count, n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2.4 - 1.2
    steps = [-1, -0.5, 0, 0.5, 1]
    points[:, -25:] = torch.tensor([[x, y] for y in steps for x in steps], dtype=torch.float64)
    return points


def by_the_formula(theta: Array, control: Array, z: Array) -> Array:
    """T of one point, with an explicit sum over control points in row-major order, x fastest."""
    total = 0.0
    for number, parameter in enumerate(control):
        center = (-1 + 0.5 * (number % 5), -1 + 0.5 * (number // 5))
        distance = abs(z[0] - center[0]) + abs(z[1] - center[1])
        total += parameter * distance**2 * math.log(distance + 1e-6)
    return theta[:, :2] @ z + theta[:, 2] + total


def test_coordinates_match_the_formula() -> None:
    rng = np.random.default_rng(7)
    theta, control = rng.standard_normal((2, 2, 3)) * 0.05 + np.eye(2, 3), rng.standard_normal((2, 1, 25)) * 0.005
    found = Warp(theta=torch.from_numpy(theta), control=torch.from_numpy(control)).warp_coordinates(scattered()).numpy()
    for clip, point in np.ndindex(2, 50):
        expected = by_the_formula(theta[clip], control[clip, 0], scattered()[clip, point].numpy())
        np.testing.assert_allclose(found[clip, point], expected, rtol=0, atol=1e-13)


def test_the_grid_is_the_warp_of_all_pixels() -> None:
    grid = warp().grid((12, 17))
    pixels = torch.tensor([[[2 * x / 16 - 1, 2 * y / 11 - 1] for x in range(17)] for y in range(12)], dtype=torch.float64)
    torch.testing.assert_close(pixel_grid((12, 17)), pixels, rtol=0, atol=1e-14)
    expected = warp().warp_coordinates(pixels.flatten(0, 1).expand(2, -1, -1)).view(2, 12, 17, 2)
    torch.testing.assert_close(grid, expected, rtol=0, atol=1e-13)


def test_the_jacobian_matches_autograd_also_at_control_points() -> None:
    points = scattered().requires_grad_()
    moved = warp().warp_coordinates(points)
    rows = [torch.autograd.grad(moved[..., axis].sum(), points, retain_graph=True)[0] for axis in range(2)]
    torch.testing.assert_close(warp().jacobian(points), torch.stack(rows, dim=-2), rtol=0, atol=1e-13)


def test_the_jacobian_matches_finite_differences() -> None:
    points, step = scattered()[:, :25], 1e-6
    columns = []
    for axis in range(2):
        shift = step * torch.eye(2, dtype=torch.float64)[axis]
        columns.append((warp().warp_coordinates(points + shift) - warp().warp_coordinates(points - shift)) / (2 * step))
    torch.testing.assert_close(warp().jacobian(points), torch.stack(columns, dim=-1), rtol=0, atol=1e-8)


def test_gradients_through_the_jacobian_match_autograd() -> None:
    points = scattered().requires_grad_()
    weights = torch.rand(2, 50, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    moved = warp().warp_coordinates(points)
    rows = [torch.autograd.grad(moved[..., axis].sum(), points, create_graph=True)[0] for axis in range(2)]
    (expected,) = torch.autograd.grad((weights * torch.stack(rows, dim=-2)).sum(), points)
    (found,) = torch.autograd.grad((weights * warp().jacobian(points)).sum(), points)
    assert found.abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_the_identity_does_not_change_images_and_points() -> None:
    identity = Warp(theta=torch.eye(2, 3).repeat(2, 1, 1), control=torch.zeros(2, 1, 25))
    frames = torch.rand(2, 3, 33, 20)
    torch.testing.assert_close(identity.warp_frames(frames), frames, rtol=0, atol=1e-5)
    assert torch.equal(identity.warp_coordinates(scattered()), scattered())
    assert torch.equal(identity.jacobian(scattered()), torch.eye(2, dtype=torch.float64).expand(2, 50, 2, 2))


def test_without_control_points_the_affine_map_remains() -> None:
    theta = warp().theta
    affine = Warp(theta=theta, control=theta.new_zeros(2, 1, 0))
    same = Warp(theta=theta, control=theta.new_zeros(2, 1, 25))
    torch.testing.assert_close(affine.grid((9, 8)), same.grid((9, 8)), rtol=0, atol=1e-14)
    torch.testing.assert_close(affine.jacobian(scattered()), same.jacobian(scattered()), rtol=0, atol=1e-14)


def reflected(position: float, length: int, align_corners: bool) -> float:
    """A position in pixels reflected into the image: at its outermost centers, or at its edges and then clamped."""
    low, span = (0.0, length - 1.0) if align_corners else (-0.5, float(length))
    away = abs(position - low) % (2 * span)
    return min(max(low + min(away, 2 * span - away), 0.0), length - 1.0)


def sampled(image: Array, x: float, y: float, align_corners: bool) -> float:
    height, width = image.shape
    places = []
    for value, length in ((x, width), (y, height)):
        pixels = (value + 1) / 2 * (length - 1) if align_corners else ((value + 1) * length - 1) / 2
        places.append(reflected(pixels, length, align_corners))
    left, top = (min(int(place), length - 2) for place, length in zip(places, (width, height), strict=True))
    u, v = places[0] - left, places[1] - top
    rows = image[top : top + 2, left] * (1 - u) + image[top : top + 2, left + 1] * u
    return float(rows[0] * (1 - v) + rows[1] * v)


@pytest.mark.parametrize("align_corners", [True, False])
def test_frames_are_sampled_bilinearly_and_reflected(align_corners: bool) -> None:
    frames, transform = torch.rand(2, 1, 14, 11, dtype=torch.float64), warp(sigma_affine=0.3)
    found, grid = transform.warp_frames(frames, align_corners=align_corners), transform.grid((14, 11))
    assert (grid.abs() > 1.05).any()  # a part of it is outside
    for clip, y, x in np.ndindex(2, 14, 11):
        expected = sampled(frames[clip, 0].numpy(), *grid[clip, y, x].tolist(), align_corners)
        assert found[clip, 0, y, x].item() == pytest.approx(expected, abs=1e-9)


def test_large_batches_give_the_same_as_single_images() -> None:
    """More than is sampled at a time on a CPU."""
    frames, drawn = torch.rand(11, 3, 256, 256), Warp.draw(11, torch.Generator().manual_seed(0))
    found = drawn.warp_frames(frames)
    for clip in (0, 7, 8, 10):
        one = slice(clip, clip + 1)
        torch.testing.assert_close(found[one], drawn[one].warp_frames(frames[one]), rtol=0, atol=1e-4)
    assert drawn[:0].warp_frames(frames[:0]).shape == (0, 3, 256, 256)


def test_coordinates_stay_float32_under_autocast_and_with_bf16_images() -> None:
    drawn, frames = Warp.draw(2, torch.Generator().manual_seed(4)), torch.rand(2, 3, 256, 256).bfloat16()
    points = scattered().float()
    exact = drawn.warp_frames(frames.float()), drawn.warp_coordinates(points), drawn.jacobian(points)
    with torch.autocast("cpu", torch.bfloat16):
        inside = drawn.warp_frames(frames.float()), drawn.warp_coordinates(points), drawn.jacobian(points)
        half = drawn.warp_frames(frames)
    for found, expected in zip(inside, exact, strict=True):
        assert found.dtype == torch.float32 and torch.equal(found, expected)
    assert half.dtype == torch.bfloat16 and torch.equal(half, exact[0].bfloat16())
    assert drawn.warp_coordinates(points.bfloat16()).dtype == torch.float32


def test_a_basis_cached_in_inference_mode_can_be_used_with_gradients() -> None:
    drawn, frames = Warp.draw(1, torch.Generator()), torch.rand(1, 3, 19, 23)
    with torch.inference_mode():
        expected = drawn.warp_frames(frames)
    leaf = drawn.control.clone().requires_grad_()
    found = Warp(theta=drawn.theta, control=leaf).warp_frames(frames)
    found.sum().backward()
    assert leaf.grad is not None and leaf.grad.abs().max() > 0
    torch.testing.assert_close(found.detach(), expected.clone())


def test_the_same_seed_draws_identical_bits_and_slices_are_rows() -> None:
    one, two = (Warp.draw(9, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one.theta, two.theta) and torch.equal(one.control, two.control)
    assert not torch.equal(one.theta, Warp.draw(9, torch.Generator().manual_seed(6)).theta)
    assert torch.equal(one[3:5].theta, one.theta[3:5]) and torch.equal(one[3:5].control, one.control[3:5]) and len(one[3:5]) == 2


def test_draws_are_normal_around_the_identity_with_the_published_standard_deviations() -> None:
    drawn = Warp.draw(4000, torch.Generator().manual_seed(0))
    assert drawn.theta.dtype == drawn.control.dtype == torch.float32 and drawn.control.shape == (4000, 1, 25)
    torch.testing.assert_close(drawn.theta.mean(0), torch.eye(2, 3), rtol=0, atol=0.005)
    torch.testing.assert_close(drawn.theta.std(0), torch.full((2, 3), 0.05), rtol=0.06, atol=0)
    assert drawn.control.std().item() == pytest.approx(0.005, rel=0.02) and abs(drawn.control.mean().item()) < 1e-4


@pytest.mark.parametrize(
    ("theta", "control"), [((2, 2, 2), (2, 1, 25)), ((2, 2, 3), (2, 1, 24)), ((2, 2, 3), (1, 1, 25)), ((2, 2, 3), (2, 1, 1))]
)
def test_other_shapes_are_refused(theta: tuple[int, ...], control: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="theta must be"):
        Warp(theta=torch.zeros(theta), control=torch.zeros(control))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="requires a CUDA device")
def test_a_gpu_gives_the_same_warp() -> None:
    drawn, frames = Warp.draw(4, torch.Generator().manual_seed(0)), torch.rand(4, 3, 256, 256)
    torch.testing.assert_close(drawn.to("cuda").warp_frames(frames.cuda()).cpu(), drawn.warp_frames(frames), rtol=0, atol=1e-3)
