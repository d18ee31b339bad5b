"""Alignment to LatentSync's template: for the template itself, under similarities, and on a photograph."""

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.align import brows_and_nose, latentsync_affine

# As in the original repository: brows and nose in a box, which is stretched to a square.
TEMPLATE, BOX = np.array([[17, 20], [58, 20], [37.5, 40]]), np.array([75, 100])


def similar(points: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Points [3,2] under a random similarity."""
    angle, scale = random.uniform(-np.pi, np.pi), random.uniform(0.2, 4)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + random.uniform(-300, 300, 2)


def mapped(affine: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ affine[:, :2].T + affine[:, 2]


@pytest.mark.parametrize("res", [256, 512])
def test_a_transformed_template_is_mapped_to_its_position(res: int) -> None:
    random = np.random.default_rng(1)
    three = np.stack([similar(TEMPLATE, random) for _ in range(20)])
    expected = (TEMPLATE * 2.8 * res / 256 + 0.5) / (BOX * 2.8 * res / 256) * res - 0.5
    for points, affine in zip(three, latentsync_affine(three, res), strict=True):
        np.testing.assert_allclose(mapped(affine, points), expected, atol=1e-6)


def test_alignment_is_invariant_to_similarities() -> None:
    random = np.random.default_rng(2)
    for _ in range(20):
        face = random.normal(0, 30, (3, 2))
        turned = np.stack([face, similar(face, random)])
        first, second = latentsync_affine(turned, 256)
        np.testing.assert_allclose(mapped(first, turned[0]), mapped(second, turned[1]), atol=1e-6)
        assert np.linalg.det(first[:, :2]) > 0  # never mirrored


def test_images_without_a_face_have_no_map() -> None:
    three = np.stack([TEMPLATE, TEMPLATE * np.nan, TEMPLATE * 0 + 5])
    assert np.isfinite(latentsync_affine(three, 256)).all(axis=(1, 2)).tolist() == [True, False, False]


def test_brows_and_nose_of_an_aligned_photograph_are_at_their_mapped_positions() -> None:
    cv2, model = pytest.importorskip("cv2"), models.load("dlib")
    assert model is not None

    def found(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
        (detections,) = model.detect(rgb[None])
        return brows_and_nose(model.landmarks(rgb[None], detections.boxes_px[:1]).points_px)

    photograph = np.ascontiguousarray(data.astronaut()[:256, 96:352])
    three = found(photograph)
    (affine,) = latentsync_affine(three, 256)
    again = found(cv2.warpAffine(photograph, affine, (256, 256)))
    assert np.abs(again[0] - mapped(affine, three[0])).max() < 0.03 * 256
    assert np.abs(again[0] - (TEMPLATE + 0.5 / 2.8) / BOX * 256).max() < 0.1 * 256
