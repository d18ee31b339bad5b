"""Landmark images against a reference with 8 x 8 samples per pixel, and against matplotlib if installed."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from motionshards.transforms.augment.drawing import SEED_WIDTH_PX, landmark_images
from motionshards.transforms.extract.quality.face_model import FACE_68_MM

Array = NDArray[np.float64]

SIDE = 112
SAMPLES = 8
# As in the original repository: first landmark, one past the last, RGB.
LINES = [
    (0, 17, (0, 128, 0)),
    (17, 22, (255, 165, 0)),
    (22, 27, (255, 165, 0)),
    (27, 31, (0, 0, 255)),
    (31, 36, (0, 0, 255)),
    (36, 42, (255, 0, 0)),
    (42, 48, (255, 0, 0)),
    (48, 60, (128, 0, 128)),
]


def faces(count: int = 3, side: int = SIDE) -> Tensor:
    """float32 [count,68,2] in pixels: the mean face with some noise, the chin close to the lower edge."""
    noise = np.random.default_rng(0).normal(0, 1.5, (count, 68, 2))
    return torch.from_numpy((0.5 + FACE_68_MM[:, :2] / 170) * side + noise).float()


def absent() -> Tensor:
    return torch.full((1, 68, 2), torch.nan)


def supersampled(points: Array, width_px: float) -> Array:
    """[3,SIDE,SIDE], coverage by 64 samples per pixel within half the line width; later lines over earlier ones."""
    place = (np.arange(SIDE * SAMPLES) + 0.5) / SAMPLES - 0.5
    image = np.ones((3, SIDE, SIDE))
    for first, end, rgb in LINES:
        inside = np.zeros((len(place), len(place)), bool)
        for a, b in zip(points[first : end - 1], points[first + 1 : end], strict=True):
            near = [np.abs(place - (a + b)[axis] / 2) <= np.abs(b - a)[axis] / 2 + width_px for axis in range(2)]
            x, y = place[near[0]][None], place[near[1]][:, None]
            share = np.clip(((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / ((b - a) @ (b - a)), 0, 1)
            distance = np.hypot(x - a[0] - share * (b - a)[0], y - a[1] - share * (b - a)[1])
            inside[np.ix_(near[1], near[0])] |= distance <= width_px / 2
        coverage = inside.reshape(SIDE, SAMPLES, SIDE, SAMPLES).mean(axis=(1, 3))
        image += coverage * (np.array(rgb)[:, None, None] / 255 - image)
    return image


def assert_alike(found: Array, reference: Array) -> None:
    """A third of a level of 255 on average, and less than a tenth of the range in 999 of 1000 values.

    The others are pixels between two lines of one color that are closer than their width: each may cover another half.
    """
    difference = np.abs(found - reference)
    measured = (difference.mean() * 255, np.quantile(difference, 0.999), difference.max())
    assert measured[0] < 0.33 and measured[1] < 0.1 and measured[2] < 0.5, measured


@pytest.mark.parametrize("width_px", [1.0, 2.0, SEED_WIDTH_PX, 5.0])
def test_images_match_the_reference(width_px: float) -> None:
    points = faces()
    reference = np.stack([supersampled(face, width_px) for face in points.double().numpy()])
    assert_alike(landmark_images(points, SIDE, width_px).double().numpy(), reference)


def test_images_match_matplotlib_as_used_by_the_original_repository() -> None:
    points = faces(1, 256)
    figure = Figure(figsize=(2.56, 2.56), dpi=100)
    canvas, axes = FigureCanvasAgg(figure), figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.ones((256, 256, 3)))
    for first, end, rgb in LINES:
        axes.plot(*points[0, first:end].T.numpy(), color=np.array(rgb) / 255, linewidth=2)
    axes.axis("off")
    axes.set(xlim=(-0.5, 255.5), ylim=(255.5, -0.5))  # the chin is below the image, which would be scaled down
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3].transpose(2, 0, 1) / 255
    assert_alike(landmark_images(points, 256)[0].double().numpy(), drawn)


@pytest.mark.parametrize(("width_px", "rows"), [(2.0, [0, 0.5, 1, 0.5, 0]), (3.0, [0, 1, 1, 1, 0]), (0.5, [0, 0, 0.5, 0, 0])])
def test_the_coverage_of_a_straight_line_is_exact(width_px: float, rows: list[float]) -> None:
    points = absent()
    points[0, 17:22] = torch.stack([torch.linspace(5, 60, 5), torch.full((5,), 20.0)], dim=1)
    column = landmark_images(points, 64, width_px)[0, :, 18:23, 30]
    expected = 1 - torch.tensor(rows) * (1 - torch.tensor([[255.0], [165.0], [0.0]]) / 255)
    torch.testing.assert_close(column, expected, rtol=0, atol=1e-5)


def test_each_landmark_is_in_the_middle_of_its_color() -> None:
    points, seen = torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(0)).mul(200).round(), 0
    for first, end, rgb in LINES:
        only = absent()
        only[:, first:end] = points[:, first:end]
        image = landmark_images(only, 201)
        for x, y in only[0, first:end].long():
            torch.testing.assert_close(image[0, :, y, x], torch.tensor(rgb) / 255, rtol=0, atol=1e-6)
            seen += 1
    assert seen == 60


def test_later_lines_are_drawn_over_earlier_ones() -> None:
    points = absent()
    points[0, 0:2] = torch.tensor([[10.0, 32], [50, 32]])
    points[0, 48:50] = torch.tensor([[30.0, 10], [30, 50]])
    torch.testing.assert_close(landmark_images(points, 64)[0, :, 32, 30], torch.tensor([128.0, 0, 128]) / 255)


def test_inner_lips_are_not_drawn_and_lines_are_not_closed() -> None:
    points = absent()
    points[:, 60:] = faces(1)[:, 60:]
    assert (landmark_images(points, SIDE) == 1).all()
    points[0, 36:42] = torch.tensor([[10.0, 30], [20, 10], [40, 10], [50, 30], [40, 50], [20, 50]])
    assert (landmark_images(points, 64)[0, :, 40, 15] == 1).all()  # between 41 and 36
    assert (landmark_images(points, 64)[0, :, 40, 45] != 1).any()  # between 39 and 40


@pytest.mark.parametrize("missing", [torch.nan, torch.inf, -torch.inf])
def test_frames_without_a_face_are_white_and_segments_of_missing_points_are_skipped(missing: float) -> None:
    points = torch.cat([faces(2), torch.full((1, 68, 2), missing)])
    points[1, 8] = missing
    images = landmark_images(points, SIDE)
    assert (images[2] == 1).all() and images.isfinite().all()
    kept = faces(2)[1:]
    kept[0, :8] = torch.nan
    kept[0, 8] = torch.nan
    half = landmark_images(kept, SIDE)  # without the jaw left of the chin
    assert torch.equal(images[1, :, :, SIDE // 2 + 20 :], half[0, :, :, SIDE // 2 + 20 :])


@pytest.mark.parametrize("shift", [(16, 16), (5, 3), (31, 1)])
def test_tiles_have_no_visible_seams(shift: tuple[int, int]) -> None:
    points, image = faces(1), landmark_images(faces(1), 2 * SIDE)
    moved = landmark_images(points + torch.tensor(shift), 2 * SIDE)
    expected = image.roll((shift[1], shift[0]), dims=(2, 3))
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-4)


def test_images_need_not_be_square_or_contain_the_face() -> None:
    whole = landmark_images(faces(), SIDE)
    torch.testing.assert_close(landmark_images(faces(), (50, 77)), whole[:, :, :50, :77], rtol=0, atol=0)
    assert landmark_images(faces(), (50, 77)).is_contiguous()
    assert (landmark_images(faces() + 10_000, SIDE) == 1).all()
    assert landmark_images(faces()[:0], SIDE).shape == (0, 3, SIDE, SIDE)


def test_images_do_not_depend_on_the_rest_of_the_batch() -> None:
    together = landmark_images(faces(), SIDE)
    assert all(torch.equal(landmark_images(faces()[clip : clip + 1], SIDE)[0], together[clip]) for clip in range(3))


def test_bf16_rounds_the_image_and_points_are_not_rounded() -> None:
    points = faces()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(landmark_images(points, SIDE), landmark_images(points, SIDE, dtype=torch.float32))
        half = landmark_images(points, SIDE, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and torch.equal(half, landmark_images(points, SIDE).bfloat16())
    assert torch.equal(landmark_images(points.double(), SIDE), landmark_images(points, SIDE))


@pytest.mark.parametrize(
    ("shape", "width_px"), [((68, 2), 2.0), ((1, 67, 2), 2.0), ((1, 68, 2), 0.0), ((1, 68, 2), float("nan"))]
)
def test_other_shapes_and_widths_are_refused(shape: tuple[int, ...], width_px: float) -> None:
    with pytest.raises(ValueError, match=r"must be \[B,68,2\]"):
        landmark_images(torch.zeros(shape), SIDE, width_px)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="requires a CUDA device")
def test_a_gpu_gives_the_same_images() -> None:
    torch.testing.assert_close(landmark_images(faces().cuda(), SIDE).cpu(), landmark_images(faces(), SIDE), rtol=0, atol=1e-4)
