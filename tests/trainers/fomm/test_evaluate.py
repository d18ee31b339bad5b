"""Measures of reconstruction, of models whose faults are known and of the real networks."""

import numpy as np
import pytest
import torch
from conformance import fill, image
from fomm_inputs import small
from skimage import data
from torch import Tensor

from motionshards.trainers.fomm.evaluate import (
    ClipScore,
    Pixels,
    Scores,
    as_pictures,
    as_pixels,
    comparison,
    face_points,
    reconstruct,
    score,
)
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import Keypoints, KPDetector
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.models import FaceModel

CPU = torch.device("cpu")


class Knowing:
    """A model whose keypoints are whole pictures, so that it can paint each driving picture, with a fault of its own."""

    def fault(self, pictures: Tensor) -> Tensor:
        return pictures

    def kp_detector(self, frames: Tensor) -> Keypoints:
        return Keypoints(value=frames, jacobian=None)

    def process_kp_driving(self, driving: Keypoints, first: Keypoints, source: Keypoints, *, adapt_scale: bool) -> Keypoints:
        raise AssertionError("reconstruction takes keypoints as they are")

    def generator(self, source: Tensor, source_keypoints: Keypoints, driving_keypoints: Keypoints) -> Tensor:
        assert len(source) == len(source_keypoints) == 1
        return self.fault(driving_keypoints.value)


class Darker(Knowing):
    def fault(self, pictures: Tensor) -> Tensor:
        return pictures - 0.25


class Sideways(Knowing):
    def fault(self, pictures: Tensor) -> Tensor:
        return pictures.roll(6, dims=3)


class Blank(Knowing):
    def fault(self, pictures: Tensor) -> Tensor:
        return torch.zeros_like(pictures)


@pytest.fixture(scope="module")
def faces() -> FaceModel:
    model = models.load("dlib")
    assert model is not None
    return model


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    """Three frames of a face that moves a little, then one without a face."""
    whole = data.astronaut()
    moving = [whole[:256, 96 + shift : 352 + shift] for shift in (0, 4, -4)]
    return np.stack([*moving, np.full((256, 256, 3), 128, np.uint8)])


def test_a_model_without_fault_has_no_error(portrait: Pixels, faces: FaceModel) -> None:
    clip, made = score("a", portrait, Knowing(), CPU, 2, faces)
    assert clip == ClipScore(key="a", frames=3, l1=0.0, faces=2, lost=0, akd_px=0.0)
    np.testing.assert_array_equal(made, portrait[1:])


def test_known_faults_are_measured(faces: FaceModel, portrait: Pixels) -> None:
    grey = np.full((4, 16, 16, 3), 128, np.uint8)
    assert score("a", grey, Darker(), CPU, 3, None)[0].l1 == pytest.approx(0.25, abs=1e-6)
    moved, _ = score("b", portrait, Sideways(), CPU, 1, faces)
    assert (moved.faces, moved.lost) == (2, 0)
    assert moved.akd_px == pytest.approx(6, abs=1)  # landmarks are whole pixels, and the detector's boxes jump
    expected = np.abs(portrait[1:].astype(float) - np.roll(portrait[1:], 6, axis=2)).mean() / 255
    assert moved.l1 == pytest.approx(expected, rel=1e-6)


def test_a_face_that_is_not_painted_is_missing_and_has_no_distance(faces: FaceModel, portrait: Pixels) -> None:
    clip, _ = score("a", portrait, Blank(), CPU, 4, faces)
    assert (clip.faces, clip.lost, clip.akd_px) == (2, 2, None)
    nobody, _ = score("b", portrait[2:], Blank(), CPU, 4, faces)
    assert (nobody.faces, nobody.lost, nobody.akd_px) == (0, 0, None)


def test_landmarks_are_those_of_the_face_that_was_found(faces: FaceModel, portrait: Pixels) -> None:
    points = face_points(faces, portrait)
    assert points.shape == (4, 68, 2) and np.isnan(points[3]).all()
    shift = (points[1] - points[0]).mean(axis=0)
    np.testing.assert_allclose(shift, [-4, 0], atol=1)
    assert (points[0].min(axis=0) > [80, 40]).all() and (points[0].max(axis=0) < [200, 190]).all()


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_frames_are_painted_from_the_first_by_their_own_keypoints(batch: int) -> None:
    detector, generator = KPDetector(small()), OcclusionAwareGenerator(small())
    fill(detector, "detector").eval(), fill(generator, "generator").eval()
    frames = image("evaluate", 5, 3, 64, 8).float()
    made = reconstruct(FoldedNetworks(detector, generator), frames, batch)
    assert made.shape == (4, 3, 64, 64)
    with torch.no_grad():
        points = detector(frames)
        for number in range(4):
            driving = points[number + 1 : number + 2]
            wanted = generator(frames[:1], source_keypoints=points[:1], driving_keypoints=driving).prediction
            torch.testing.assert_close(made[number : number + 1], wanted, rtol=0, atol=1e-4)


def test_means_are_over_frames() -> None:
    some = [
        ClipScore(key="a", frames=1, l1=0.5, faces=1, lost=0, akd_px=4.0),
        ClipScore(key="b", frames=3, l1=0.1, faces=3, lost=1, akd_px=1.0),
        ClipScore(key="c", frames=4, l1=0.2, faces=2, lost=2, akd_px=None),
    ]
    found = Scores.of(some)
    assert (found.clips, found.frames, found.faces) == (3, 8, 6)
    assert found.l1 == pytest.approx((0.5 + 3 * 0.1 + 4 * 0.2) / 8)
    assert found.missing_rate == pytest.approx(3 / 6)
    assert found.akd_px == pytest.approx((4 + 2 * 1) / 3)


def test_what_was_not_measured_is_none() -> None:
    unmeasured = Scores.of([ClipScore(key="a", frames=2, l1=0.5)])
    assert (unmeasured.faces, unmeasured.missing_rate, unmeasured.akd_px) == (None, None, None)
    nobody = Scores.of([ClipScore(key="a", frames=2, l1=0.5, faces=0, lost=0)])
    assert (nobody.faces, nobody.missing_rate, nobody.akd_px) == (0, None, None)
    with pytest.raises(ValueError, match="nothing was reconstructed"):
        Scores.of([])


def test_the_picture_shows_what_differs() -> None:
    source, real, made = (np.full((4, 4, 3), level, np.uint8) for level in (10, 200, 230))
    row = comparison(source, real, made)
    assert row.shape == (4, 16, 3) and row.dtype == np.uint8
    assert row[0, ::4, 0].tolist() == [10, 200, 230, 30]


def test_pixels_survive_the_way_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    pictures = as_pictures(levels, CPU)
    assert pictures.shape == (1, 3, 16, 16) and pictures.min() == 0 and pictures.max() == 1
    np.testing.assert_array_equal(as_pixels(pictures), levels)
    assert as_pixels(torch.full((1, 3, 2, 2), 1.5)).max() == 255
