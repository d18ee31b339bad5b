"""Damage inside members of a shard with correct hashes: only decoding detects it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from damage import Files, edit_array, edit_meta, first_row, rewrite, run, tar_of
from nine_clips import SIZE

from motionshards.schemas.layout import LANDMARK_SCORES, LANDMARKS, META


def jpeg(height: int, colors: str = "RGB") -> bytes:
    """A black frame of another height or color space."""
    channels, sampling = {"RGB": (3, "444"), "GRAY": (1, "Gray")}[colors]
    black = np.zeros((height, SIZE, channels), np.uint8)
    return bytes(simplejpeg.encode_jpeg(black, colorspace=colors, colorsubsampling=sampling))


def with_nan(points: Any) -> Any:
    points[4, 30, 1] = np.nan
    return points


OTHER = "meta.json: the index has different values of"

# Damage inside members, with all hashes updated: only decoding detects it.
CONTENTS = [
    (lambda files: files.update({"005.jpg": b"\xff\xd8 no image"}), "005.jpg: cannot be read"),
    (lambda files: files.update({"005.jpg": files["005.jpg"][:2000]}), "005.jpg: cannot be read"),
    (lambda files: files.update({"005.jpg": jpeg(SIZE // 2)}), f"005.jpg: is {SIZE}x{SIZE // 2} px"),
    (lambda files: files.update({"005.jpg": jpeg(SIZE, "GRAY")}), "005.jpg: is 128x128 px in Gray"),
    (edit_array(LANDMARKS, with_nan), "landmarks.npy: frame 4 has a face, but non-finite points"),
    (edit_array(LANDMARKS, lambda points: points[:, :67]), "landmarks.npy: is not an npy file of float32 [N,68,2]"),
    (edit_array(LANDMARKS, lambda points: points.astype(np.float64)), "landmarks.npy: is not an npy file of float32"),
    (edit_array(LANDMARK_SCORES, lambda scores: scores + 1), "landmark_scores.npy: has values outside 0 to 1"),
    (edit_array(LANDMARK_SCORES, lambda scores: scores * np.nan), "landmark_scores.npy: has values outside 0 to 1"),
    (lambda files: files.update({LANDMARKS: b"no array"}), "landmarks.npy: is not an npy file"),
    (lambda files: files.update({META: b"{"}), "meta.json: Expecting property name"),
    (lambda files: files.update({META: b"[]"}), "meta.json: is not a JSON object"),
    (edit_meta(lambda meta: meta.update(key="id0/other/1")), "meta.json: key is 'id0/other/1'"),
    (edit_meta(lambda meta: meta.update(split="dev")), "meta.json: split is 'dev'"),
    (edit_meta(lambda meta: meta["pts_s"].pop()), "meta.json: pts_s is not a list of numbers [9]"),
    (edit_meta(lambda meta: meta.pop("boxes_px")), "meta.json: boxes_px is missing"),
    (edit_meta(lambda meta: meta.update(boxes_px=[1] * 9)), "meta.json: boxes_px is not a list of numbers [9, 4]"),
    (edit_meta(lambda meta: meta["boxes_px"].__setitem__(6, [None] * 4)), "landmarks.npy: frame 6 has points, but no face"),
    (edit_meta(lambda meta: meta["landmark_residual"].__setitem__(6, 9)), f"{OTHER} landmark_residual, frame_landmark_residual"),
    (edit_meta(lambda meta: meta["box_scores"].__setitem__(6, -9)), f"{OTHER} least_detector_score, frame_detector_score"),
    (edit_array(LANDMARK_SCORES, lambda scores: scores * 0), f"{OTHER} least_landmark_score, frame_landmark_score"),
]


@pytest.mark.parametrize(("change", "expected"), CONTENTS, ids=lambda part: part if isinstance(part, str) else "")
def test_damage_that_only_decoding_detects(
    copy: Path,
    change: Callable[[Files], None],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rewrite(copy, change)
    assert run(copy, capsys, "--fast")[0] == 0
    place = f"{tar_of(copy).relative_to(copy)}: {first_row(copy)['key']}."
    status, lines = run(copy, capsys)
    assert status == 1
    assert [line for line in lines if line.startswith(place + expected)] == lines[:-1]


def test_wrong_members_are_detected_without_decoding(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(copy, lambda files: files.pop(LANDMARKS) and None)
    status, lines = run(copy, capsys, "--fast")
    assert status == 1
    assert f"{first_row(copy)['key']}: its members are not the expected ones for a sample of 9 frames" in lines[0]


def test_a_rewritten_but_unchanged_shard_passes(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(copy, lambda files: None)
    assert run(copy, capsys)[0] == 0


def test_frames_without_a_face_have_no_points(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def remove_face(files: Files) -> None:
        edit_meta(lambda meta: meta["boxes_px"].__setitem__(6, [None] * 4))(files)
        edit_array(LANDMARKS, lambda points: np.where(np.arange(9)[:, None, None] == 6, np.float32(np.nan), points))(files)

    rewrite(copy, remove_face)
    status, lines = run(copy, capsys)
    assert status == 1 and len(lines) == 2 and f"{OTHER} face_share" in lines[0]  # and no fault about landmarks
