"""FAN and S3FD in batches, compared with face-alignment with the same fixed random weights."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.inputs import rendered
from motionshards.transforms.extract.landmarks.fan import detectors, sfd
from motionshards.transforms.extract.landmarks.fan.crops import crops, places
from motionshards.transforms.extract.landmarks.fan.heatmaps import cells, points
from motionshards.transforms.extract.landmarks.fan.model import Fan
from motionshards.transforms.extract.landmarks.options import ModelOptions

library = pytest.importorskip("face_alignment", reason="face-alignment, or OpenCV's system libraries, are not installed")


BOXES = np.array([[60, 50, 190, 200], [30.5, 80.25, 120, 170], [100, 120, 250, 255]], np.float32)


@pytest.fixture(scope="module")
def model(weight_files: Path) -> Fan:
    return Fan(ModelOptions(weights=weight_files))


@pytest.fixture(scope="module")
def oracle(weight_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """face-alignment's class, with those weights in torch hub's cache."""
    home = tmp_path_factory.mktemp("torch-home")
    (home / "hub").mkdir()
    (home / "hub" / "checkpoints").symlink_to(weight_files)
    before = os.environ.get("TORCH_HOME")
    os.environ["TORCH_HOME"] = str(home)
    try:
        yield library.FaceAlignment(library.LandmarksType.TWO_D, device="cpu", compile=False)
    finally:
        os.environ.pop("TORCH_HOME")
        if before is not None:
            os.environ["TORCH_HOME"] = before


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    """Three frames of a face, uint8 [3,256,256,3]; rendered, as a machine with a GPU may have no decoder."""
    return rendered(0, 61, 256)[::30].copy()


def test_crops_are_bit_identical_to_the_library(frames: NDArray[np.uint8]) -> None:
    """Small and large faces, enlarged and reduced, also if the crop leaves the image."""
    from face_alignment.utils import crop

    rng = np.random.default_rng(0)
    sides = rng.uniform(20, 300, (150, 2))
    low = rng.uniform(-60, 230, (150, 2))
    boxes = np.hstack([low, low + sides])
    boxes[:3] = [[60, 60, 60 + 124.8, 60 + 124.8], [0, 0, 256, 256], [10.5, 20.25, 205.5, 215.25]]
    center, side = places(torch.from_numpy(boxes))
    found = crops(torch.from_numpy(frames).permute(0, 3, 1, 2), torch.arange(150) % 3, center, side)
    for number, box in enumerate(boxes):
        middle = np.array([box[2] - (box[2] - box[0]) / 2.0, box[3] - (box[3] - box[1]) / 2.0])
        middle[1] -= (box[3] - box[1]) * 0.12
        expected = crop(frames[number % 3], middle, (box[2] - box[0] + box[3] - box[1]) / 195)
        np.testing.assert_array_equal(found[number].permute(1, 2, 0).numpy(), expected, err_msg=f"box {box}")


@pytest.mark.slow
def test_landmarks_match_the_library(model: Fan, oracle: Any, frames: NDArray[np.uint8]) -> None:
    """Within the half pixel of the library's truncation for every point; maxima in exactly the same cells."""
    batch = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    faces = [[np.append(box, 1.0)] for box in BOXES.astype(np.float64)]
    expected = np.array(oracle.get_landmarks_from_batch(batch, detected_faces=faces))
    found = model.landmarks(frames, BOXES - np.float32(0.5)).points_px
    # Truncation is towards zero, so left of and above the image the library is off by up to a pixel in the other direction.
    inside = (expected > 0).all(axis=2)
    assert inside.mean() > 0.8
    assert np.abs(found - expected)[inside].max() <= 0.5 + 1e-3


@pytest.mark.slow
def test_heatmaps_have_their_maxima_in_the_same_cells(model: Fan, oracle: Any, frames: NDArray[np.uint8]) -> None:
    from face_alignment.utils import flip, get_preds_fromhm

    center, side = places(torch.from_numpy(BOXES))
    crop = crops(torch.from_numpy(frames).permute(0, 3, 1, 2), torch.arange(3), center, side)
    with torch.inference_mode():
        found = model._heatmaps(crop)
        inputs = [one[None].float() / 255 for one in crop]
        net = oracle.face_alignment_net
        expected = torch.cat([net(one)[-1] + flip(net(flip(one))[-1], is_label=True) for one in inputs])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert torch.equal(cells(found)[0], cells(expected)[0])
    in_cells, _ = points(expected, torch.full((3, 2), 32.0), torch.full((3,), 64.0))
    np.testing.assert_allclose(in_cells, get_preds_fromhm(expected.numpy())[0], atol=1e-9)


def test_boxes_match_the_library(model: Fan, oracle: Any, frames: NDArray[np.uint8]) -> None:
    small = np.ascontiguousarray(frames[:, ::2, ::2])
    expected = oracle.face_detector.detect_from_batch(torch.from_numpy(small).permute(0, 3, 1, 2).float())
    found = model.detect(small)
    assert [len(one) for one in found] == [len(one) for one in expected]
    assert sum(map(len, expected)) > 6
    for detections, reference in zip(found, np.array(expected, dtype=object), strict=True):
        rows = np.array(list(reference), np.float64)
        np.testing.assert_allclose(detections.boxes_px + 0.5, rows[:, :4], atol=1e-3)
        np.testing.assert_allclose(detections.scores, rows[:, 4], atol=1e-5)
        assert (np.diff(detections.scores) <= 0).all()


@pytest.mark.parametrize("seed", range(10))
def test_nms_of_all_images_at_once_matches_the_library_for_each(seed: int) -> None:
    from face_alignment.detection.sfd.bbox import nms

    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 400))
    low = rng.uniform(0, 300, (count, 2))
    boxes, scores = np.hstack([low, low + rng.uniform(10, 150, (count, 2))]), rng.permutation(count + 1)[:count] / (count + 1)
    image = rng.integers(0, 4, count)
    kept = sfd.batched_nms(torch.from_numpy(image), torch.from_numpy(boxes), torch.from_numpy(scores)).numpy()
    assert (np.diff(image[kept]) >= 0).all()
    for number in range(4):
        rows = np.flatnonzero(image == number)
        expected = rows[nms(np.hstack([boxes[rows], scores[rows, None]]), 0.3)] if len(rows) else rows
        assert kept[image[kept] == number].tolist() == expected.tolist()


@pytest.mark.slow
def test_frames_without_a_face_remain_empty_and_order_is_kept(model: Fan, frames: NDArray[np.uint8]) -> None:
    boxes = BOXES.copy()
    boxes[1] = np.nan
    all_of_them, some = model.landmarks(frames, BOXES), model.landmarks(frames, boxes)
    assert np.isnan(some.points_px[1]).all()
    assert (some.scores[1] == 0).all()
    np.testing.assert_allclose(some.points_px[[0, 2]], all_of_them.points_px[[0, 2]], atol=1e-3)
    assert ((some.scores >= 0) & (some.scores <= 1)).all()
    nobody = model.landmarks(frames, np.full_like(BOXES, np.nan))
    assert np.isnan(nobody.points_px).all() and nobody.points_px.shape == (3, 68, 2)
    assert model.detect(frames[:0]) == []


@pytest.mark.slow
def test_out_of_memory_halves_the_batch_and_continues(
    model: Fan, frames: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, sizes, real = model.landmarks(frames, BOXES), [], Fan._points

    def tight(self: Fan, rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> Any:
        sizes.append(len(rgb))
        if len(rgb) > fits:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return real(self, rgb, boxes)

    monkeypatch.setattr(Fan, "_points", tight)
    monkeypatch.setattr(model, "_most", 3)
    fits = 1
    found = model.landmarks(frames, BOXES)
    assert sizes == [3, 1, 1, 1]
    np.testing.assert_allclose(found.points_px, expected.points_px, atol=1e-3)
    fits = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        model.landmarks(frames, BOXES)


def state() -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    flags = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
    random = torch.random.get_rng_state().numpy().tobytes()
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(), flags, random


@pytest.mark.slow
def test_process_wide_state_is_unchanged(weight_files: Path, frames: NDArray[np.uint8]) -> None:
    before = state()
    fresh = Fan(ModelOptions(weights=weight_files))
    fresh.detect(frames[:1, ::2, ::2])
    fresh.landmarks(frames[:1], BOXES[:1])
    assert state() == before
    weight = torch.ones(2, requires_grad=True)
    (weight * 2).sum().backward()
    assert weight.grad is not None


def test_process_wide_state_changed_by_a_library_is_restored() -> None:
    before = state()
    with detectors._process_as_it_was():
        torch.set_grad_enabled(False)
        torch.manual_seed(7)
        torch.set_default_dtype(torch.float64)
        torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    assert state() == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="requires a CUDA device")
def test_a_gpu_gives_the_same_landmarks(weight_files: Path, model: Fan, frames: NDArray[np.uint8]) -> None:
    on_gpu = Fan(ModelOptions(weights=weight_files, device="cuda"))
    np.testing.assert_allclose(on_gpu.landmarks(frames, BOXES).points_px, model.landmarks(frames, BOXES).points_px, atol=0.5)
    for found, expected in zip(on_gpu.detect(frames), model.detect(frames), strict=True):
        np.testing.assert_allclose(found.boxes_px, expected.boxes_px, atol=1e-2)
