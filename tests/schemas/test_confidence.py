"""The confidence columns: their values, and that a stored sample reproduces those of the build."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made import make_clip

from motionshards.schemas.confidence import CONFIDENCE, FRAME_SCORES, confidence_columns
from motionshards.schemas.records import Clip, FaceTrack, Landmarks
from motionshards.schemas.samples.encode import encode_sample
from motionshards.schemas.samples.restore import restore_clip
from motionshards.schemas.tables import MARKER, clip_row, table

NAN = float("nan")
COLUMNS = (*CONFIDENCE, "frame_landmark_residual", *(f"frame_{name}" for name in FRAME_SCORES))


def columns(**changed: Any) -> dict[str, Any]:
    """Four frames, two from each of two files, without a face in the third."""
    boxes = np.ones((4, 4), np.float32)
    boxes[2] = NAN
    values = {
        "boxes_px": boxes,
        "detector_scores": np.array([1.5, 0.25, NAN, 0.5], np.float32),
        "landmark_scores": np.array([1, 0.75, 0, 0.5], np.float32)[:, None].repeat(68, 1),
        "residual": np.array([0.02, 0.05, NAN, 0.01], np.float32),
        "yaw_deg": np.array([10, 13.5, NAN, -30], np.float32),
        "span": np.array([0, 0, 1, 1]),
        "pts_s": np.array([1.0, 1.1, 5.0, 5.04]),
    }
    return confidence_columns(**{**values, **changed})


def test_least_confident_frame_counts() -> None:
    found = columns()
    assert {name: found[name] for name in CONFIDENCE} == {
        "face_share": 0.75,
        "least_detector_score": 0.25,
        "least_landmark_score": 0.5,
        "landmark_residual": pytest.approx(0.05),
        "yaw_jump_deg": 3.5,
    }
    np.testing.assert_array_equal(found["frame_landmark_score"], np.array([1, 0.75, NAN, 0.5], np.float32))


@pytest.mark.parametrize(
    ("changed", "jump"),
    [
        ({"pts_s": np.array([1.0, 1.12, 5.0, 5.04])}, None),
        ({"span": np.array([0, 1, 1, 1])}, None),
        ({"span": np.array([0, 0, 0, 0]), "pts_s": np.arange(4) / 25, "yaw_deg": np.array([0, 1, -4, 2], np.float32)}, 6),
        ({"yaw_deg": np.array([179, -179, 0, 0], np.float32)}, 2),
        ({"pts_s": 3600 + np.arange(4) / 10}, 3.5),
    ],
    ids=["0.12 s apart", "another file", "the largest", "through the back", "10 fps after an hour"],
)
def test_yaw_jumps_between_adjacent_frames_of_a_file(changed: dict[str, Any], jump: float | None) -> None:
    assert columns(**changed)["yaw_jump_deg"] == jump


def test_without_faces_only_the_share_is_set() -> None:
    nothing = columns(
        boxes_px=np.full((4, 4), NAN), detector_scores=np.full(4, NAN), residual=np.full(4, NAN), yaw_deg=np.full(4, NAN)
    )
    assert [nothing[name] for name in CONFIDENCE] == [0, None, None, None, None]


def row_of(clip: Clip) -> dict[str, Any]:
    row: dict[str, Any] = table([clip_row(clip, "shard", [])], MARKER).to_pylist()[0]
    return row


def test_columns_computed_from_a_sample_equal_those_of_the_build() -> None:
    """Scores with more digits than meta.json stores, and times at the limit."""
    random = np.random.default_rng(7)
    made = make_clip(0, 30, "id0", "train", True, False, 32)
    boxes, scores = random.uniform(0, 32, (30, 4)), random.uniform(-0.5, 5, 30) + 5e-7
    boxes[3], scores[3] = NAN, NAN
    landmarks = random.uniform(0, 1, (30, 68)).astype(np.float32)
    landmarks[3] = 0
    clip = replace(
        made,
        track=FaceTrack(boxes.astype(np.float32), scores.astype(np.float32), np.ones(30, np.int32)),
        landmarks=Landmarks(random.uniform(0, 32, (30, 68, 2)).astype(np.float32), landmarks),
    )
    row = row_of(clip)
    assert row["face_share"] == np.float32(29 / 30)
    again = row_of(restore_clip(row, encode_sample(clip)))
    np.testing.assert_equal({name: again[name] for name in COLUMNS}, {name: row[name] for name in COLUMNS})
    for name in ("landmark_residual", "frame_landmark_residual"):
        row[name] = None  # as in format version 1
    assert np.isnan(restore_clip(row, encode_sample(clip)).quality.landmark_residual).all()


def test_without_landmarks_all_are_null() -> None:
    row = row_of(make_clip(0, 3, "id0", "train", False, False, 32))
    assert all(row[name] is None for name in (*CONFIDENCE, "frame_detector_score", "frame_landmark_score"))
