"""Color jitter against formulas in float64, the standard library's HSV and Pillow."""

import colorsys
import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor

from motionshards.transforms.augment.color import BRIGHTNESS, CONTRAST, HUE, SATURATION, jitter, turn_hue

Array = NDArray[np.float64]

ORDERS = list(itertools.permutations(range(4)))
LUMA = np.array([0.299, 0.587, 0.114])


def images(count: int, n: int = 2, side: int = 6, seed: int = 0) -> Tensor:
    """float32 [count,n,3,side,side]: all kinds of colors, among them gray, black, white and pure ones."""
    rgb = np.random.default_rng(seed).random((count, n, 3, side, side))
    rgb[:, :, :, 0, :5] = np.array([[0, 1, 0.5, 1, 0], [0, 1, 0.5, 1, 0], [0, 1, 0.5, 0, 1]])
    return torch.from_numpy(rgb).float()


def adjusted(frame: Array, operation: int, factor: float) -> Array:
    """One operation on one frame, float64 [3,H,W], by its definition."""
    gray = np.tensordot(LUMA, frame, 1)
    if operation == BRIGHTNESS:
        frame = factor * frame
    elif operation == CONTRAST:
        frame = factor * frame + (1 - factor) * gray.mean()
    elif operation == SATURATION:
        frame = factor * frame + (1 - factor) * gray
    else:
        for y, x in np.ndindex(frame.shape[1:]):
            hue, saturation, value = colorsys.rgb_to_hsv(*frame[:, y, x])
            frame[:, y, x] = colorsys.hsv_to_rgb((hue + factor) % 1, saturation, value)
    return np.clip(frame, 0, 1)


def expected(frames: Tensor, factors: Tensor, order: Tensor) -> Array:
    result = frames.double().numpy().copy()
    for clip, frame in np.ndindex(result.shape[:2]):
        for operation in order[clip].tolist():
            result[clip, frame] = adjusted(result[clip, frame], operation, float(factors[clip, operation]))
    return result


def test_every_order_applies_the_operations_in_sequence() -> None:
    frames, order = images(len(ORDERS)), torch.tensor(ORDERS)
    generator = torch.Generator().manual_seed(1)
    factors = torch.rand(len(ORDERS), 4, generator=generator) + torch.tensor([0.5, 0.5, 0.5, -0.5])
    found = jitter(frames, factors, order).numpy()
    np.testing.assert_allclose(found, expected(frames, factors, order), atol=2e-6)
    in_reverse = jitter(frames, factors, order.flip(1)).numpy()
    assert (np.abs(found - in_reverse).max(axis=(1, 2, 3, 4)) > 0.001).all()  # the order matters


@pytest.mark.parametrize("operation", [BRIGHTNESS, CONTRAST, SATURATION, HUE])
@pytest.mark.parametrize("factor", [0.0, 0.3, 0.5, 1.0, 1.7])
def test_each_operation_alone(operation: int, factor: float) -> None:
    frames, neutral = images(2), torch.tensor([[1.0, 1.0, 1.0, 0.0]]).repeat(2, 1)
    neutral[:, operation] = factor if operation != HUE else factor - 0.5
    order = torch.arange(4).repeat(2, 1)
    np.testing.assert_allclose(jitter(frames, neutral, order).numpy(), expected(frames, neutral, order), atol=2e-6)


def test_neutral_factors_are_the_identity() -> None:
    frames = images(4)
    assert torch.equal(jitter(frames, torch.tensor([[1.0, 1, 1, 0]]).repeat(4, 1), torch.tensor(ORDERS[::6])), frames)


def test_a_clip_does_not_depend_on_its_neighbors() -> None:
    frames, order = images(8, side=32), torch.tensor(ORDERS[::3])
    factors = torch.rand(8, 4, generator=torch.Generator().manual_seed(2)) + torch.tensor([0.5, 0.5, 0.5, -0.5])
    together = jitter(frames, factors, order)
    for clip in range(8):
        part = slice(clip, clip + 1)
        torch.testing.assert_close(jitter(frames[part], factors[part], order[part]), together[part], rtol=0, atol=1e-6)


def test_equal_frames_of_a_clip_stay_equal() -> None:
    frames = images(1, n=1).expand(1, 5, -1, -1, -1)
    changed = jitter(frames, torch.tensor([[1.1, 0.8, 1.2, 0.1]]), torch.tensor([[2, 0, 3, 1]]))
    assert not torch.equal(changed, frames)
    assert (changed == changed[:, :1]).all()


def test_a_hue_rotation_can_be_inverted() -> None:
    frames, turns = images(3), torch.tensor([0.1, -0.37, 0.5])
    torch.testing.assert_close(turn_hue(turn_hue(frames, turns), -turns), frames, rtol=0, atol=1e-5)
    torch.testing.assert_close(turn_hue(frames, torch.ones(3)), frames, rtol=0, atol=1e-5)


def test_a_third_of_a_turn_makes_red_green() -> None:
    red = torch.tensor([0.9, 0.2, 0.2]).view(1, 1, 3, 1, 1)
    torch.testing.assert_close(turn_hue(red, torch.tensor([1 / 3])).flatten(), torch.tensor([0.2, 0.9, 0.2]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("operation", "enhancer"),
    [(BRIGHTNESS, ImageEnhance.Brightness), (CONTRAST, ImageEnhance.Contrast), (SATURATION, ImageEnhance.Color)],
)
def test_results_match_pillow(operation: int, enhancer: type[ImageEnhance.Brightness]) -> None:
    """To within its rounding of grays to integers."""
    levels = np.random.default_rng(3).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    factors = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    factors[0, operation] = 1.3
    frames = torch.from_numpy(levels).permute(2, 0, 1)[None, None] / 255
    jittered = jitter(frames, factors, torch.arange(4)[None])[0, 0].permute(1, 2, 0).numpy() * 255
    enhanced = np.asarray(enhancer(Image.fromarray(levels)).enhance(1.3)).astype(float)
    assert np.abs(jittered - enhanced).max() < 1.5


def test_bf16_is_computed_in_float32() -> None:
    frames, factors, order = images(2).bfloat16(), torch.tensor([[1.1, 0.9, 1.2, 0.1]]).repeat(2, 1), torch.tensor(ORDERS[5:7])
    found = jitter(frames, factors, order)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, jitter(frames.float(), factors, order).bfloat16())


def test_an_order_that_is_not_a_permutation_is_refused() -> None:
    with pytest.raises(ValueError, match="permutation"):
        jitter(images(1), torch.ones(1, 4), torch.tensor([[0, 1, 2, 2]]))
