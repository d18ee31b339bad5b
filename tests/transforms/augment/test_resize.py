"""Crop and resize against torch's and Pillow's antialiased filters; landmarks follow the pixels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor

from motionshards.transforms.augment.resize import resize_frames, resize_landmarks


def noise(height: int = 40, width: int = 56) -> Tensor:
    return torch.rand(2, 3, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(40, 56), (20, 28), (13, 17), (80, 112), (97, 31), (1, 1)])
def test_a_whole_image_is_resized_as_by_torch(size: tuple[int, int]) -> None:
    frames = noise()
    found = resize_frames(frames, torch.tensor([[0.0, 0, 56, 40]]).repeat(2, 1), size)
    expected = F.interpolate(frames.flatten(0, 1), size, mode="bilinear", antialias=True).view(2, 3, 3, *size)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(16, 16), (64, 48)])
def test_each_clip_has_its_own_window_cropped_as_by_pillow(size: tuple[int, int]) -> None:
    frames, windows = noise(), torch.tensor([[3.25, 0, 40.5, 39.75], [10, 5, 20, 40]])
    found = resize_frames(frames, windows, size)
    for clip, frame, channel in np.ndindex(2, 3, 3):
        image = Image.fromarray(frames[clip, frame, channel].numpy())
        box = tuple(windows[clip].tolist())
        expected = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)  # type: ignore[arg-type]
        np.testing.assert_allclose(found[clip, frame, channel].numpy(), np.asarray(expected), rtol=0, atol=1e-5)


def test_the_whole_image_at_its_size_is_unchanged() -> None:
    assert torch.equal(resize_frames(noise(), torch.tensor([[0.0, 0, 56, 40]]).repeat(2, 1), (40, 56)), noise())


@pytest.mark.parametrize("size", [(64, 64), (200, 150)])
def test_landmarks_follow_the_pixels(size: tuple[int, int]) -> None:
    """The center of mass of a soft spot is at its landmark."""
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    points = torch.tensor([[60.0, 50.5], [70.25, 77.0]]).view(1, 1, 2, 2)
    windows = torch.tensor([[12.5, 20.0, 120.0, 118.25]])
    moved = resize_landmarks(points, windows, size)
    for point, target in zip(points[0, 0], moved[0, 0], strict=True):
        spot = torch.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 18).expand(1, 1, 3, 128, 128)
        mass = resize_frames(spot, windows, size)[0, 0, 0]
        rows, columns = mass.sum(1), mass.sum(0)
        center = torch.stack([(columns * torch.arange(size[1])).sum(), (rows * torch.arange(size[0])).sum()]) / mass.sum()
        torch.testing.assert_close(center, target, rtol=0, atol=0.02)


def test_corners_of_the_window_become_corners_of_the_image() -> None:
    corners = torch.tensor([[9.5, 19.5], [49.5, 39.5]]).view(1, 1, 2, 2)  # edges of pixels 10 and 49, 20 and 39
    found = resize_landmarks(corners, torch.tensor([[10.0, 20, 50, 40]]), (30, 80))
    torch.testing.assert_close(found[0, 0], torch.tensor([[-0.5, -0.5], [79.5, 29.5]]))


def test_a_missing_face_remains_nan() -> None:
    assert resize_landmarks(torch.full((1, 2, 68, 2), torch.nan), torch.tensor([[1.0, 2, 30, 40]]), (8, 8)).isnan().all()


def test_autocast_and_bf16_do_not_change_the_arithmetic() -> None:
    frames, windows = noise().bfloat16(), torch.tensor([[3.0, 4, 30, 31]]).repeat(2, 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = resize_frames(frames, windows, (24, 24))
        exact = resize_frames(frames.float(), windows, (24, 24))
    assert found.dtype == torch.bfloat16 and exact.dtype == torch.float32
    torch.testing.assert_close(exact, resize_frames(frames.float(), windows, (24, 24)), rtol=0, atol=0)
    assert torch.equal(found, exact.bfloat16())
