"""Records are validated on construction: wrong shapes, types and values raise."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from motionshards.schemas.frames import Crop, Frames, Placement
from motionshards.schemas.reasons import REASONS
from motionshards.schemas.records import ClipSpec, FaceTrack, Landmarks, Rejected, ShardUnit, Span

SPEC: dict[str, Any] = {
    "key": "i/v/c",
    "source": "s",
    "split": "train",
    "identity": "i",
    "video": "v",
    "spans": (Span("a.mp4"),),
    "cost": 1.0,
}


def frames_fields(t: int) -> dict[str, Any]:
    return {
        "rgb": np.zeros((t, 4, 6, 3), np.uint8),
        "pts_s": np.zeros(t),
        "source_to_frame": np.zeros((t, 2, 3)),
        "source_size_px": np.zeros((t, 2), np.int32),
        "content_px": np.zeros((t, 4), np.int32),
    }


def placement_fields(t: int) -> dict[str, Any]:
    return {
        "span": np.zeros(t, np.int32),
        "index": np.zeros(t, np.int32),
        "pts_s": np.zeros(t),
        "source_size_px": np.zeros((t, 2), np.int32),
        "content_px": np.zeros((t, 4), np.int32),
        "source_to_crop": np.zeros((t, 2, 3)),
    }


def face_fields(t: int) -> dict[str, Any]:
    return {"boxes_px": np.zeros((t, 4), np.float32), "scores": np.zeros(t, np.float32), "faces": np.zeros(t, np.int32)}


def landmark_fields(t: int) -> dict[str, Any]:
    return {"points_px": np.zeros((t, 68, 2), np.float32), "scores": np.zeros((t, 68), np.float32)}


@pytest.mark.parametrize(("start", "end"), [(0.0, float("inf")), (0.0, 1e-9), (5.0, 6.0)])
def test_valid_spans_are_accepted(start: float, end: float) -> None:
    assert (Span("a", start, end).start_s, Span("a", start, end).end_s) == (start, end)


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.0), (2.0, 1.0), (-0.1, 1.0), (float("nan"), 1.0), (0.0, float("nan"))])
def test_empty_spans_are_refused(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="empty"):
        Span("a", start, end)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": ""}, "key"),
        ({"key": "i/v/c.mp4"}, "dot"),
        ({"spans": ()}, "spans"),
        ({"cost": 0.0}, "cost"),
        ({"cost": -1.0}, "cost"),
        ({"cost": float("nan")}, "cost"),
    ],
    ids=str,
)
def test_bad_clip_specs_are_refused(change: dict[str, Any], message: str) -> None:
    assert ClipSpec(**SPEC).key == "i/v/c"
    with pytest.raises(ValueError, match=message):
        ClipSpec(**(SPEC | change))


@pytest.mark.parametrize("t", [0, 1, 5])
@pytest.mark.parametrize(
    ("record", "fields"),
    [(Frames, frames_fields), (Placement, placement_fields), (FaceTrack, face_fields), (Landmarks, landmark_fields)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_array_must_have_the_length_and_rank_of_the_others(record: Any, fields: Any, t: int) -> None:
    good = fields(t)
    assert len(getattr(record(**good), next(iter(good)))) == t
    for name, array in good.items():
        longer, deeper = np.concatenate([array, np.zeros((1, *array.shape[1:]), array.dtype)]), array[..., None]
        for wrong in (longer,) if (record, name) == (Placement, "span") else (longer, deeper):
            with pytest.raises(ValueError, match=" "):
                record(**(good | {name: wrong}))


def test_the_span_numbers_of_a_placement_must_be_a_vector() -> None:
    with pytest.raises(ValueError, match="span"):
        Placement(**(placement_fields(2) | {"span": np.zeros((2, 1), np.int32)}))


@pytest.mark.parametrize(
    "rgb", [np.zeros((2, 4, 6, 3), np.float32), np.zeros((2, 4, 6, 4), np.uint8), np.zeros((2, 4, 6), np.uint8)]
)
def test_pixels_are_uint8_rgb(rgb: Any) -> None:
    with pytest.raises(ValueError, match="rgb"):
        Frames(**(frames_fields(2) | {"rgb": rgb}))


def test_crop_has_as_many_images_as_placements() -> None:
    place = Placement(**placement_fields(2))
    assert len(Crop(np.zeros((2, 4, 4, 3), np.uint8), place)) == len(place) == 2
    with pytest.raises(ValueError, match="length"):
        Crop(np.zeros((3, 4, 4, 3), np.uint8), place)
    with pytest.raises(ValueError, match="uint8"):
        Crop(np.zeros((2, 4, 4, 3), np.int32), place)


def test_a_face_is_found_if_all_edges_of_its_box_are_finite() -> None:
    boxes = np.array([[1, 2, 3, 4], [np.nan] * 4, [0, 0, 0, np.nan], [-5, -5, 0, 0]], np.float32)
    found = FaceTrack(boxes, np.zeros(4, np.float32), np.zeros(4, np.int32)).found
    assert found.tolist() == [True, False, False, True] and found.dtype == bool


def test_rejection_has_stage_and_retryable_of_its_reason() -> None:
    for code, reason in REASONS.items():
        lost = Rejected(ClipSpec(**SPEC), code, "why")
        assert (lost.stage, lost.retryable, lost.detail) == (reason.stage, reason.retryable, "why")
    with pytest.raises(ValueError, match="bad_luck"):
        Rejected(ClipSpec(**SPEC), "bad_luck")


def test_records_cannot_change_and_a_unit_counts_its_rows() -> None:
    unit = ShardUnit("plan-000000.parquet", 5, 12, "train", "s-train-000000")
    assert len(unit) == 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        unit.stop = 3  # type: ignore[misc]
