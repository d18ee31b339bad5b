"""Overlap of boxes, and tracking of one face through a clip."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from motionshards.transforms.extract.detect import Detections, iou
from motionshards.transforms.extract.track import FRAME_PENALTY, POSITION_WEIGHT, centered_box, track

EXPECTED = centered_box(256)
LEFT, RIGHT = (20.0, 60.0, 120.0, 160.0), (140.0, 60.0, 240.0, 160.0)


def detections(*faces: tuple[tuple[float, ...], float]) -> Detections:
    """Detections of (box, score) pairs, highest score first as from a detector."""
    ordered = sorted(faces, key=lambda face: -face[1])
    boxes = np.array([box for box, _ in ordered], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([score for _, score in ordered], np.float32))


def moved(box: tuple[float, ...], x: float, y: float = 0) -> tuple[float, ...]:
    return (box[0] + x, box[1] + y, box[2] + x, box[3] + y)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),
        ((0, 0, 4, 4), (1, 1, 3, 3), 1 / 4),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),
        ((0, 0, 2, 2), (2, 2, 4, 4), 0.0),
        ((0, 0, 2, 2), (5, 5, 6, 6), 0.0),
        ((0, 0, 2, 2), (3, 0, 5, 2), 0.0),
        ((-4, -4, -2, -2), (-3, -4, -1, -2), 1 / 3),
        ((0, 0, 2, 2), (1, 1, 1, 1), 0.0),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0.0),
        ((0, 0, 10, 1), (0, 0, 1, 10), 1 / 19),
    ],
    ids=str,
)
def test_overlap(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    assert iou(np.array([a]), np.array([b]))[0, 0] == pytest.approx(expected)


def test_overlap_is_symmetric_and_invariant_to_scale_and_translation() -> None:
    rng = np.random.default_rng(0)
    corner, sides = rng.normal(0, 5, (40, 2)), rng.random((40, 2)) * 8
    boxes = np.concatenate([corner, corner + sides], axis=1)
    overlap = iou(boxes, boxes[:30])
    assert overlap.shape == (40, 30) and overlap.dtype == np.float64
    np.testing.assert_allclose(overlap[:30], overlap[:30].T)
    np.testing.assert_allclose(overlap[:30].diagonal(), 1)
    np.testing.assert_allclose(iou(boxes * 3 + 7, boxes[:30] * 3 + 7), overlap, atol=1e-12)
    assert overlap.min() == 0 and (overlap > 0).sum() > 60 and overlap.max() <= 1


def test_no_boxes_overlap_nothing() -> None:
    assert iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)


def test_the_expected_box_is_the_middle_half() -> None:
    np.testing.assert_array_equal(centered_box(256), [63.5, 63.5, 191.5, 191.5])
    assert (centered_box(100)[:2] + centered_box(100)[2:]).tolist() == [99, 99]


def test_the_track_does_not_jump_to_a_face_with_a_higher_score() -> None:
    near, other = (70.0, 70.0, 190.0, 190.0), (0.0, 0.0, 60.0, 60.0)
    frames = [detections((moved(near, 2 * n), 0.5), (other, 2.0 if n % 2 else 0.1)) for n in range(9)]
    found = track(frames, EXPECTED)
    np.testing.assert_array_equal(found.boxes_px, [moved(near, 2 * n) for n in range(9)])
    np.testing.assert_array_equal(found.scores, np.full(9, 0.5, np.float32))
    assert found.faces.tolist() == [2] * 9


def test_between_two_equal_people_the_track_stays_with_one() -> None:
    frames = [detections((LEFT, 1 + n % 2), (RIGHT, 2 - n % 2)) for n in range(10)]
    assert len({tuple(box) for box in track(frames, EXPECTED).boxes_px.tolist()}) == 1


def test_a_frame_with_only_another_person_does_not_divert_the_track() -> None:
    near, other = (70.0, 70.0, 190.0, 190.0), (0.0, 0.0, 60.0, 60.0)
    frames = [detections((near, 0.5), (other, 2.0)) for _ in range(9)]
    frames[4] = detections((other, 2.0))
    found = track(frames, EXPECTED).boxes_px
    assert {tuple(box) for box in np.delete(found, 4, axis=0).tolist()} == {near}


@pytest.mark.parametrize("missed", [(4,), (2, 4, 6)], ids=["once", "three times"])
def test_a_frame_with_only_another_person_has_no_face_of_the_clip(missed: tuple[int, ...]) -> None:
    """A person in the middle whom the detector sometimes misses, and a bystander in the corner who is always detected."""
    near, other = (70.0, 70.0, 190.0, 190.0), (0.0, 0.0, 60.0, 60.0)
    frames = [detections((other, 2.0)) if n in missed else detections((near, 0.5), (other, 2.0)) for n in range(9)]
    found = track(frames, EXPECTED)
    assert {tuple(box) for box in found.boxes_px[found.found].tolist()} == {near}
    assert (~found.found).nonzero()[0].tolist() == list(missed)


def test_a_face_that_moves_off_the_center_is_tracked() -> None:
    start = (64.0, 64.0, 192.0, 192.0)
    frames = [detections((moved(start, 12 * n), 1.0), (moved(start, -12 * n), 1.1)) for n in range(1, 9)]
    steps = np.diff(track(frames, EXPECTED).boxes_px[:, 0])
    assert set(steps.tolist()) in ({12.0}, {-12.0})


def test_frames_without_a_face_are_bridged_and_remain_nan() -> None:
    empty = detections()
    frames = [
        empty,
        detections((LEFT, 1.0)),
        empty,
        empty,
        detections((RIGHT, 1.5), (moved(LEFT, 5), 0.1)),
        detections((moved(LEFT, 9), 1.0)),
        empty,
    ]
    found = track(frames, EXPECTED)
    assert found.found.tolist() == [False, True, False, False, True, True, False]
    assert found.boxes_px[4].tolist() == list(moved(LEFT, 5))
    assert np.isnan(found.boxes_px[~found.found]).all() and np.isnan(found.scores[~found.found]).all()
    assert found.faces.tolist() == [0, 1, 0, 0, 2, 1, 0]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_clip_without_faces_has_an_empty_track(count: int) -> None:
    found = track([detections()] * count, EXPECTED)
    assert found.boxes_px.shape == (count, 4) and not found.found.any() and not found.faces.any()
    assert found.boxes_px.dtype == found.scores.dtype == np.float32 and found.faces.dtype == np.int32


def path_score(boxes: list[NDArray[np.float32]]) -> float:
    """The objective of the module: overlap with the expected box, and between frames."""
    place = sum(POSITION_WEIGHT * iou(box[None], EXPECTED[None])[0, 0] - FRAME_PENALTY for box in boxes)
    return float(place + sum(iou(a[None], b[None])[0, 0] for a, b in itertools.pairwise(boxes)))


@pytest.mark.parametrize("seed", range(40))
def test_no_other_path_has_a_higher_value(seed: int) -> None:
    """Compared with all selections of one face or none per frame."""
    rng = np.random.default_rng(seed)
    frames = []
    for count in rng.integers(0, 4, rng.integers(1, 6)):
        corner = rng.uniform(0, 150, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(40, 120, (count, 2))], axis=1).astype(np.float32)
        frames.append(Detections(boxes, np.sort(rng.random(count).astype(np.float32))[::-1]))
    found = track(frames, EXPECTED)
    for n in found.found.nonzero()[0]:
        assert (found.scores[n], *found.boxes_px[n]) in [
            (s, *b) for b, s in zip(frames[n].boxes_px, frames[n].scores, strict=True)
        ]
    ways = itertools.product(*([None, *frame.boxes_px] for frame in frames))
    taken = [[box for box in way if box is not None] for way in ways]
    best = max((path_score(boxes) for boxes in taken if boxes), default=0.0)
    assert path_score(list(found.boxes_px[found.found])) == pytest.approx(best)


def test_a_single_face_far_from_the_center_is_selected() -> None:
    found = track([detections(((0.0, 0.0, 30.0, 30.0), 1.0))], EXPECTED)
    assert found.boxes_px.tolist() == [[0, 0, 30, 30]]
