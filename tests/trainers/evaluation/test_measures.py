"""Metrics of images with known differences."""

import numpy as np
import pytest
from skimage import data

from motionshards.trainers.evaluation.measures import FaceMeasure, Features, Frames, PixelMeasure, face_points
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.models import FaceModel

Pixels = np.ndarray


def frames(pixels: Pixels) -> Frames:
    return Frames(pixels / np.float32(255), pixels)


def flat_features(level: float) -> Features:
    return {"values": np.full((1, 24, 24, 3), level, np.float32)}


@pytest.fixture(scope="module")
def faces() -> FaceModel:
    model = models.load("dlib")
    assert model is not None
    return model


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    """Two frames of a moving face, and one without a face."""
    whole = data.astronaut()
    moving = [whole[:256, 96 + shift : 352 + shift] for shift in (0, 4)]
    return np.stack([*moving, np.full((256, 256, 3), 128, np.uint8)])


def test_flat_images_have_the_values_of_the_formulas() -> None:
    found = PixelMeasure().compare(flat_features(0.5), flat_features(0.6))
    assert found["l1"] == pytest.approx([0.1], rel=1e-6)
    assert found["psnr_db"] == pytest.approx([20], rel=1e-6)
    # Variances are 0, so only the luminance term is left; its constant is 0.01 squared.
    assert found["ssim"] == pytest.approx([(2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)], rel=1e-6)


def test_equal_frames_have_a_finite_psnr() -> None:
    found = PixelMeasure().compare(flat_features(0.3), flat_features(0.3))
    assert (found["l1"], found["ssim"]) == (0, pytest.approx(1))
    assert found["psnr_db"] == pytest.approx([58.92], abs=0.01)


def test_ssim_is_that_of_the_definition_in_the_middle_of_a_window() -> None:
    """An 11 x 11 image has one complete window; skimage ignores the border."""
    rng = np.random.default_rng(0)
    real, generated = rng.random((2, 1, 11, 11, 3)).astype(np.float32)
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line)[..., None] / line.sum() ** 2
    means = [(window * image[0]).sum(axis=(0, 1)) for image in (real, generated)]
    one, other = real[0] - means[0], generated[0] - means[1]
    variances = [(window * image**2).sum(axis=(0, 1)) for image in (one, other)]
    shared = (window * one * other).sum(axis=(0, 1))
    luminance = (2 * means[0] * means[1] + 1e-4) / (means[0] ** 2 + means[1] ** 2 + 1e-4)
    expected = (luminance * (2 * shared + 9e-4) / (sum(variances) + 9e-4)).mean()
    assert PixelMeasure().compare({"values": real}, {"values": generated})["ssim"] == pytest.approx([expected], abs=1e-4)


def test_a_shifted_face_has_the_distance_of_the_shift_and_stays_the_same_person(faces: FaceModel, portrait: Pixels) -> None:
    measure = FaceMeasure(faces)
    real = measure.features(frames(portrait))
    moved = measure.compare(real, measure.features(frames(np.roll(portrait, 6, axis=2))))
    assert moved["akd_px"][:2] == pytest.approx(6, abs=1)  # landmarks are whole pixels, and the detector's boxes jump
    assert moved["missing"][:2].tolist() == [0, 0] and moved["same_person"][:2].tolist() == [1, 1]
    assert (moved["aed"][:2] < 0.3).all() and (moved["pose_deg"][:2] < 3).all()
    assert all(np.isnan(values[2]) for values in moved.values()), "nobody is in the last frame"
    equal = measure.compare(real, real)
    assert [equal[name][:2].tolist() for name in ("akd_px", "aed", "pose_deg")] == [[0, 0]] * 3


def test_a_face_that_is_not_reconstructed_is_missing(faces: FaceModel, portrait: Pixels) -> None:
    measure = FaceMeasure(faces, identity=False)
    lost = measure.compare(measure.features(frames(portrait[[0, 2]])), measure.features(frames(np.zeros_like(portrait[:2]))))
    assert lost.keys() == {"missing", "akd_px", "pose_deg"}
    assert lost["missing"][0] == 1 and np.isnan(lost["missing"][1]) and np.isnan(lost["akd_px"]).all()


def test_another_person_is_far_away(faces: FaceModel) -> None:
    """The distance is that of the descriptors; angles wrap around."""
    measure = FaceMeasure(faces)

    def features(level: float, yaw_deg: float) -> Features:
        pose = np.array([[yaw_deg, 0, 0]], np.float32)
        return {"points": np.zeros((1, 68, 2)), "pose": pose, "descriptor": np.full((1, 128), level, np.float32)}

    found = measure.compare(features(0.0, -179), features(0.1, 179))
    assert found["aed"] == pytest.approx([0.1 * 128**0.5]) and found["same_person"].tolist() == [0]
    assert found["pose_deg"] == pytest.approx([2 / 3])


def test_landmarks_are_those_of_the_detected_face(faces: FaceModel, portrait: Pixels) -> None:
    points = face_points(faces, portrait)
    assert points.shape == (3, 68, 2) and np.isnan(points[2]).all()
    np.testing.assert_allclose((points[1] - points[0]).mean(axis=0), [-4, 0], atol=1)
    assert (points[0].min(axis=0) > [80, 40]).all() and (points[0].max(axis=0) < [200, 190]).all()
