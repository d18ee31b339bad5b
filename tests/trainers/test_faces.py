"""Faces in users' images: detection, cropping as in datasets, and pasting back."""

from pathlib import Path

import numpy as np
import pytest

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.faces import face_window, find_face, find_landmarks, paste_face, shared_window, to_window
from motionshards.trainers.video import Driving, Rgb, cut_window
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.models import FaceModel

RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    loaded = models.load("dlib")
    assert loaded is not None
    return loaded


@pytest.fixture(scope="module")
def frames(demo_videos: Path) -> list[Rgb]:
    return list(Driving.at(sorted(demo_videos.rglob("*.mp4"))[0]).whole_frames())[:20:5]


def face(center: tuple[float, float], extent: float) -> np.ndarray:
    """68 points whose extent is a square."""
    points = RANDOM.uniform(-0.5, 0.5, (68, 2))
    points[:2] = [[-0.5, -0.5], [0.5, 0.5]]
    return (np.array(center) + extent * points).astype(np.float32)


def test_a_window_frames_a_face_as_in_voxceleb() -> None:
    x0, y0, x1, y1 = face_window(face((400, 300), 100), (800, 600))
    assert x1 - x0 == y1 - y0 == round(100 / 0.616)
    assert (x0 + x1) / 2 == pytest.approx(400, abs=1)
    assert (300 - y0) / (y1 - y0) == pytest.approx(0.578, abs=0.01)


def test_a_window_is_shifted_into_the_image_if_it_fits() -> None:
    assert face_window(face((30, 40), 100), (800, 600))[:2] == (0, 0)
    x0, y0, x1, _ = face_window(face((60, 60), 110), (120, 300))
    assert abs(x0 + x1 - 120) <= 1 and x0 < 0 and y0 == 0, "wider than the image: centered on it"


def test_a_window_of_several_images_contains_all_faces() -> None:
    faces = np.stack([face((300, 300), 80), face((360, 320), 90)])
    x0, y0, x1, y1 = face_window(faces, (800, 600))
    assert ((faces > (x0, y0)) & (faces < (x1, y1))).all()


def test_points_follow_the_pixels() -> None:
    """A bright pixel and its landmark move to the same place."""
    image = np.zeros((200, 300, 3), np.uint8)
    image[98:103, 148:153] = 255
    window = (100, 50, 200, 150)
    small = cut_window(image, window, 64).astype(float)[..., 0]
    found = [(small * axis).sum() / small.sum() for axis in np.meshgrid(np.arange(64), np.arange(64))]
    np.testing.assert_allclose(to_window(np.array([150, 100], np.float32), window, 64), found, atol=0.1)


def test_landmarks_are_those_detected_in_the_cropped_face(frames: list[Rgb], model: FaceModel) -> None:
    found = find_face(frames[0], model, 128)
    assert found is not None and found.image.shape == (128, 128, 3)
    detected = find_landmarks(found.image, model)
    assert detected is not None
    assert np.abs(detected - found.landmarks_px).mean() < 3, "detected detected in the cropped face"


@pytest.mark.parametrize("side", [300, 220])
def test_a_small_face_in_a_large_image_is_found(frames: list[Rgb], model: FaceModel, side: int) -> None:
    image = np.full((720, 1280, 3), 110, np.uint8)
    image[100 : 100 + side, 700 : 700 + side] = cut_window(frames[0], (0, 0, *frames[0].shape[1::-1]), side)
    found = find_landmarks(image, model)
    assert found is not None
    alone = find_landmarks(image[100 : 100 + side, 700 : 700 + side].copy(), model)
    assert alone is not None and np.abs(found - alone - (700, 100)).mean() < 0.03 * side


def test_a_real_face_of_290_px_in_a_large_image_is_found(corpus: Path, model: FaceModel) -> None:
    videos = sorted((corpus / "voxceleb2").rglob("*.mp4"))
    frame = next(iter(Driving.at(videos[0]).frames(224)))
    image = np.full((720, 1280, 3), 110, np.uint8)
    image[300:590, 200:490] = cut_window(frame, (0, 0, 224, 224), 290)
    found = find_landmarks(image, model)
    assert found is not None
    assert (found.min(axis=0) > (190, 290)).all() and (found.max(axis=0) < (500, 600)).all()


def test_an_image_without_a_face(model: FaceModel) -> None:
    assert find_face(np.full((160, 160, 3), 90, np.uint8), model, 64) is None
    with pytest.raises(ConfigError, match="no face was found"):
        shared_window([np.full((160, 160, 3), 90, np.uint8)], model)


def test_a_window_of_a_video_ignores_frames_without_a_face(frames: list[Rgb], model: FaceModel) -> None:
    blank = np.full_like(frames[0], 90)
    assert shared_window([blank, *frames], model) == shared_window(frames, model)


@pytest.mark.parametrize("window", [(20, 10, 84, 74), (-10, -10, 54, 54), (60, 40, 124, 104), (-4, -4, 124, 124)])
def test_pasting_an_unchanged_face_does_not_change_the_image(window: tuple[int, int, int, int]) -> None:
    y, x = np.mgrid[:100, :120]
    image = np.stack([x * 2, y * 2, x + y], axis=-1).astype(np.uint8)
    side = window[2] - window[0]
    pasted = paste_face(image, cut_window(image, window, side), window)
    assert np.abs(pasted.astype(int) - image).max() <= 2


def test_a_changed_face_is_blended_at_its_border(frames: list[Rgb]) -> None:
    image, white = np.zeros((100, 100, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)
    pasted = paste_face(image, white, (30, 40, 80, 90))
    assert pasted[65, 55].min() == 255 and not pasted[:40].any() and not pasted[:, 80:].any()
    row = pasted[65, 30:40, 0].astype(int)
    assert (np.diff(row) >= 0).all() and 0 < row[0] < 255
    edge = paste_face(image, white, (-10, 0, 40, 50))
    assert edge[20, 0].min() == 255, "nothing is faded at the image's own edge"
