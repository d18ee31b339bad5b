"""dlib's faces and landmarks on a real photograph at every stored size, and the models selected by `--landmarks`."""

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import ROOT
from numpy.typing import NDArray
from skimage import data, transform

from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.dlib68 import Dlib68, data_file

Array = NDArray[Any]

SIZES = (128, 256, 512, 1024)
FACE_PX = (225.0, 118.0)  # between the eyes and the mouth, in the photograph


@pytest.fixture(scope="module")
def model() -> models.FaceModel:
    loaded = models.load("dlib")
    assert loaded is not None
    return loaded


def crop(size: int) -> Array:
    """The astronaut's head and shoulders, 256 px of the photograph around (224, 128), at any size."""
    return (
        transform.resize(data.astronaut()[:256, 96:352], (size, size), order=1, anti_aliasing=True, preserve_range=True)
        .round()
        .astype(np.uint8)
    )


@pytest.fixture(scope="module")
def portraits(model: models.FaceModel) -> dict[int, tuple[Array, Array]]:
    """size -> box [4] and points [68,2] of the only face."""
    found = {}
    for size in SIZES:
        image = crop(size)[None]
        (detections,) = model.detect(image)
        assert len(detections) == 1, f"{len(detections)} faces at {size} px"
        landmarks = model.landmarks(image, detections.boxes_px)
        assert landmarks.scores.mean() > 0.8 and landmarks.scores.max() <= 1 and landmarks.points_px.dtype == np.float32
        found[size] = detections.boxes_px[0], landmarks.points_px[0]
    return found


@pytest.mark.parametrize("size", SIZES)
def test_the_only_face_is_found_with_its_landmarks(portraits: dict[int, tuple[Array, Array]], size: int) -> None:
    box, points = portraits[size]
    scale = size / 256
    center = (box[:2] + box[2:]) / 2 / scale + [96, 0]
    assert np.abs(center - FACE_PX).max() < 20
    side = (box[2:] - box[:2]).max()
    assert 60 < side / scale < 160
    assert (points > box[:2] - 0.2 * side).all() and (points < box[2:] + 0.35 * side).all()
    eyes, nose, mouth, chin = points[36:48].mean(axis=0), points[30], points[48:].mean(axis=0), points[8]
    assert eyes[1] < nose[1] < mouth[1] < chin[1]
    assert points[36:42, 0].mean() < nose[0] < points[42:48, 0].mean()


@pytest.mark.parametrize("size", [128, 512, 1024])
def test_the_size_of_the_crop_hardly_changes_the_points(portraits: dict[int, tuple[Array, Array]], size: int) -> None:
    scaled = (portraits[size][1] + 0.5) * (256 / size) - 0.5
    off = np.linalg.norm(scaled - portraits[256][1], axis=1)
    assert off.mean() < 3 and off.max() < 9, (off.mean(), off.max())


def test_a_face_moved_by_whole_pixels_moves_box_and_points_with_it(model: models.FaceModel) -> None:
    image = crop(256)
    shifted = np.roll(image, (-8, 16), axis=(0, 1))
    first, second = (model.detect(one[None])[0].boxes_px for one in (image, shifted))
    assert np.abs(second - first - [16, -8, 16, -8]).max() <= 8
    points = model.landmarks(
        np.stack([image, shifted]), np.concatenate([first, first + [16, -8, 16, -8]]).astype(np.float32)
    ).points_px
    np.testing.assert_array_equal(points[1], points[0] + [16, -8])


def test_a_face_that_just_fills_the_window_at_a_coarse_scale_is_searched_at_a_finer_one(model: models.FaceModel) -> None:
    image = np.full((400, 640, 3), 128, np.uint8)
    image[:390, :390] = transform.resize(data.astronaut(), (390, 390), preserve_range=True).round().astype(np.uint8)
    (found,), (fine,) = model.detect([image]), model.detect([image], own_scale=True)
    assert found.scores[0] > 1, "at 160 px its score is 0.2"
    np.testing.assert_array_equal(found.boxes_px, fine.boxes_px)


def test_without_a_box_there_are_no_points(model: models.FaceModel) -> None:
    image = crop(256)
    box = model.detect(image[None])[0].boxes_px[0]
    boxes = np.stack([box, np.full(4, np.nan), [np.nan, *box[1:]], box]).astype(np.float32)
    landmarks = model.landmarks(np.stack([image] * 4), boxes)
    assert landmarks.scores.shape == (4, 68) and (landmarks.scores.mean(axis=1) > 0.8).tolist() == [True, False, False, True]
    assert (landmarks.scores[1:3] == 0).all()
    assert np.isnan(landmarks.points_px[1:3]).all()
    np.testing.assert_array_equal(landmarks.points_px[0], landmarks.points_px[3])
    assert model.landmarks(np.zeros((0, 64, 64, 3), np.uint8), np.zeros((0, 4), np.float32)).points_px.shape == (0, 68, 2)


def test_landmarks_that_follow_the_box_instead_of_the_image_have_low_scores(model: models.FaceModel) -> None:
    image = crop(256)
    box = model.detect(image[None])[0].boxes_px[0]
    flat, aside = np.full_like(image, 128), box + 0.5 * (box[2] - box[0])
    sure, *doubtful = model.landmarks(np.stack([image, flat, image]), np.stack([box, box, aside])).scores.mean(axis=1)
    assert max(doubtful) < 0.7 < 0.85 < sure


def test_two_faces_are_sorted_by_score(model: models.FaceModel) -> None:
    close = transform.resize(data.astronaut()[58:178, 165:285], (256, 256), preserve_range=True).round().astype(np.uint8)
    pair = np.concatenate([close, close[:, ::-1]], axis=1)
    (found,) = model.detect(pair[None])
    assert len(found) == 2 and (np.diff(found.scores) <= 0).all()
    assert sorted((found.boxes_px[:, 0] >= 256).tolist()) == [False, True]


@pytest.mark.parametrize("size", [16, 100, 256, 1000])
def test_images_without_a_face_have_no_detections(model: models.FaceModel, size: int) -> None:
    rng = np.random.default_rng(size)
    frames = np.stack([np.zeros((size, size, 3), np.uint8), np.full((size, size, 3), 255, np.uint8)])
    ramp = np.broadcast_to(np.linspace(0, 255, size).astype(np.uint8)[None, :, None], (size, size, 3))
    noise = rng.integers(0, 256, (size, size, 3), np.uint8)
    for found in model.detect(np.stack([*frames, ramp, noise])):
        assert found.boxes_px.shape == (0, 4) and found.scores.shape == (0,)
        assert found.boxes_px.dtype == found.scores.dtype == np.float32
    assert model.detect(np.zeros((0, size, size, 3), np.uint8)) == []


def test_a_frame_does_not_depend_on_its_batch_and_pixels_are_unchanged(model: models.FaceModel) -> None:
    frames = np.stack([crop(512), np.ascontiguousarray(crop(512)[:, ::-1]), np.zeros((512, 512, 3), np.uint8)])
    before = frames.copy()
    together = model.detect(frames)
    for frame, found in zip(frames, together, strict=True):
        np.testing.assert_array_equal(model.detect(frame[None])[0].boxes_px, found.boxes_px)
    np.testing.assert_array_equal(frames, before)


def test_a_model_is_loaded_once_per_process_and_none_loads_none(model: models.FaceModel) -> None:
    assert models.load("dlib") is model and isinstance(model, Dlib68)
    assert models.load("none") is None and models.provenance("none") == {}


def test_provenance_has_version_and_weights() -> None:
    recorded = models.provenance("dlib")
    digest = hashlib.sha256(data_file().read_bytes()).hexdigest()
    assert digest in recorded["landmark_model"] and set(recorded) == {"dlib", "landmark_model"}
    assert recorded["dlib"].split(".")[0].isdigit()


@pytest.mark.parametrize("choice", ["dlib", "none"])
def test_a_requested_model_is_selected(choice: str) -> None:
    assert models.resolve(choice) == (choice, "requested")


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine may have a CUDA device")
def test_auto_is_dlib_without_cuda() -> None:
    name, why = models.resolve("auto")
    assert name == "dlib" and "CUDA" in why


def test_every_model_is_a_choice_and_every_choice_can_be_resolved() -> None:
    assert set(models.MODELS) | {"auto", "none"} == set(models.CHOICES)
    for name in models.MODELS:
        assert importlib.util.find_spec(models.MODELS[name].partition(":")[0]) is not None


@pytest.mark.parametrize(
    ("blocked", "choice", "advice"),
    [
        ("face_alignment", "fan", ["pip install face-alignment", "libgl1"]),
        ("cv2", "fan", ["pip install face-alignment", "libgl1"]),
        ("face_recognition_models", "dlib", ["pip install face_recognition_models"]),
    ],
)
def test_a_missing_package_is_named_with_its_installation_command(blocked: str, choice: str, advice: list[str]) -> None:
    """In a process where this import fails, as on a machine without the package."""
    program = f"""
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

if {choice!r} == "fan":
    sys.meta_path.insert(0, Missing())
else:
    finders, sys.meta_path[:] = list(sys.meta_path), []
    for finder in finders:
        class Hiding(MetaPathFinder):
            def find_spec(self, name, path=None, target=None, finder=finder):
                return None if name == {blocked!r} else finder.find_spec(name, path, target)
        sys.meta_path.append(Hiding())
from motionshards.schemas.errors import ConfigError
from motionshards.transforms.extract.landmarks import models
try:
    models.resolve({choice!r})
    models.load({choice!r})
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert len(done.stdout.splitlines()) == 1, done.stdout
    for words in (f"--landmarks {choice}", *advice):
        assert words in done.stdout
