"""Descriptors of real faces: close for one person, far for others, and a function of the frame only."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from videos import ffmpeg

from motionshards.transforms.extract.identity.compare import has_two_people
from motionshards.transforms.extract.identity.descriptor import descriptors, provenance
from motionshards.transforms.extract.landmarks import models

ONE = ["dev/mp4/id90003/liveD9aaaaa/00001", "dev/mp4/id90003/liveD9aaaaa/00002"]
OTHER = ["test/mp4/id90008/liveD19aaaa/00001"]


def face(video: Path, at_s: float, place: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A frame, uint8 [H,W,3], and its landmarks, float32 [68,2]."""
    ffmpeg("-ss", str(at_s), "-i", f"file:{video}", "-frames:v", "1", "-y", place)
    rgb = np.asarray(Image.open(place).convert("RGB"))[None]
    model = models.load("dlib")
    assert model is not None
    return rgb[0], model.landmarks(rgb, model.detect(rgb)[0].boxes_px[:1]).points_px[0]


@pytest.fixture(scope="module")
def found(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.float32]:
    """float32 [4,128]: two frames of a clip, one of another of the same person, one of somebody else."""
    place = tmp_path_factory.mktemp("faces") / "frame.png"
    videos = [corpus / "voxceleb2" / f"{name}.mp4" for name in (ONE[0], *ONE, *OTHER)]
    faces = [face(video, at_s, place) for video, at_s in zip(videos, (0.4, 2, 1, 1), strict=True)]
    shape = faces[0][0].shape
    assert all(rgb.shape == shape for rgb, _ in faces)
    rgb, points = (np.stack(part) for part in zip(*faces, strict=True))
    together = descriptors(rgb, points)
    np.testing.assert_array_equal(descriptors(rgb[2:3], points[2:3])[0], together[2])
    return together


def test_descriptors_of_one_person_are_close_and_of_another_far(found: NDArray[np.float32]) -> None:
    assert found.shape == (4, 128) and found.dtype == np.float32
    assert np.linalg.norm(found[:3] - found[0], axis=1).max() < 0.5
    assert np.linalg.norm(found[:3] - found[3], axis=1).min() > 0.6
    assert not has_two_people(found[:3]) and has_two_people(found)


def test_the_provenance_has_the_hash_of_the_network() -> None:
    (line,) = provenance().values()
    assert line.startswith("dlib ") and len(line.partition("sha256:")[2]) == 64
