"""Tubes: the rule of FOMM's original repository on generated boxes, one identity per tube, gaps, cuts, width, and windows."""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.crop import tube_window
from motionshards.transforms.extract.tubes import FOMM_SAME_PLACE, EveryFace, Tube, TubeBuilder, TubeRule, choose_face

Boxes = NDArray[np.float64]
FRAME_PX = (640, 480)


def overlap(a: Boxes, b: Boxes) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(width * height / (areas - width * height))


def authors_rule(boxes: Boxes, least_frames: int, most_frames: int, least_px: float) -> list[tuple[int, int, list[int]]]:
    """The published rule, implemented directly: (first frame, frame after the last, crop left top right bottom)."""
    tubes: list[list[int]] = []
    for frame, box in enumerate(boxes):
        if tubes and len(tubes[-1]) < most_frames and overlap(boxes[tubes[-1][0]], box) >= 0.25:
            tubes[-1].append(frame)
        else:
            tubes.append([frame])
    kept = []
    for tube in tubes:
        left, top = boxes[tube, 0].min(), boxes[tube, 1].min()
        right, bottom = boxes[tube, 2].max(), boxes[tube, 3].max()
        width, height = right - left, bottom - top
        if len(tube) < least_frames or max(width, height) < least_px:
            continue
        by_width = max(0.1, (1.2 * height - width) / (2 * width))
        by_height = max(0.1, (1.2 * width - height) / (2 * height))
        crop = [
            int(left - by_width * width),
            int(top - by_height * height),
            int(right + by_width * width),
            int(bottom + by_height * height),
        ]
        if crop[0] >= 0 and crop[1] >= 0 and crop[2] <= FRAME_PX[0] and crop[3] <= FRAME_PX[1]:
            kept.append((tube[0], tube[-1] + 1, crop))
    return kept


def tubes_of(boxes: list[Boxes | None], rule: TubeRule, cuts: frozenset[int] = frozenset()) -> list[Tube]:
    builder = TubeBuilder(rule)
    found = [builder.step(frame, box, cut=frame in cuts) for frame, box in enumerate(boxes)]
    return [tube for tube in [*found, builder.finish()] if tube is not None]


def walk(seed: int, length: int = 400) -> Boxes:
    """A face that moves, sometimes jumps and changes its size; often near the border of the frame."""
    rng = np.random.default_rng(seed)
    center = rng.uniform([100, 100], [540, 380]) + np.cumsum(rng.normal(0, 6, (length, 2)), axis=0)
    center += np.cumsum(rng.normal(0, 120, (length, 2)) * (rng.random((length, 1)) < 0.01), axis=0)
    center = np.clip(center, 40, np.array(FRAME_PX) - 40)
    size = rng.uniform(60, 160) * np.exp(np.cumsum(rng.normal(0, 0.01, (length, 1)), axis=0)) * rng.uniform(0.8, 1.2, 2)
    return np.hstack([center - size / 2, center + size / 2])


@pytest.mark.parametrize("seed", range(60))
def test_tubes_match_the_rule_of_the_original_repository(seed: int) -> None:
    boxes, least, most, least_px = walk(seed), 20, 90, 110.0
    rule = TubeRule(min_frames=least, max_frames=most, min_px=least_px, same_place=FOMM_SAME_PLACE)
    found = []
    for tube in tubes_of(list(boxes), rule):
        side = (tube.union[2:] - tube.union[:2]).max()
        if tube.stop - tube.start >= least and side >= least_px:
            with suppress(ClipRejected):
                found.append((tube.start, tube.stop, list(tube_window("fomm-track", tube.union, FRAME_PX))))
    expected = authors_rule(boxes, least, most, least_px)
    assert [(start, stop) for start, stop, _ in found] == [(start, stop) for start, stop, _ in expected]
    # The last bit of a float may change the rounding to a whole pixel.
    assert all(np.abs(np.subtract(a[2], b[2])).max() <= 1 for a, b in zip(found, expected, strict=True))


def test_the_generated_boxes_cover_every_branch_of_the_rule() -> None:
    """Otherwise the comparison would be void: tubes are kept, dropped for each reason, split at the limit, ended by a jump."""
    kept = [authors_rule(walk(seed), 20, 90, 110.0) for seed in range(60)]
    everything = [authors_rule(walk(seed), 1, 10_000, 0.0) for seed in range(60)]
    assert sum(map(len, kept)) > 60
    assert any(stop - start == 90 for tubes in kept for start, stop, _ in tubes)
    assert sum(map(len, everything)) > sum(map(len, kept))
    small = [authors_rule(walk(seed), 20, 90, 0.0) for seed in range(60)]
    assert sum(map(len, small)) > sum(map(len, kept))


def still(length: int, x: float = 100.0) -> list[Boxes | None]:
    return [np.array([x, 100.0, x + 80, 180.0]) for _ in range(length)]


def spans(tubes: list[Tube]) -> list[tuple[int, int]]:
    return [(tube.start, tube.stop) for tube in tubes]


def test_short_gaps_are_bridged_and_long_ones_end_a_tube() -> None:
    boxes = still(30)
    boxes[10:14] = [None] * 4
    assert spans(tubes_of(boxes, TubeRule(longest_gap=4))) == [(0, 30)]
    assert spans(tubes_of(boxes, TubeRule(longest_gap=3))) == [(0, 10), (14, 30)]
    boxes[26:] = [None] * 4
    assert spans(tubes_of(boxes, TubeRule(longest_gap=4))) == [(0, 26)]


def test_a_cut_ends_a_tube_even_if_the_face_stays() -> None:
    assert spans(tubes_of(still(30), TubeRule(), frozenset({12}))) == [(0, 12), (12, 30)]
    boxes = still(30)
    boxes[10:13] = [None] * 3
    assert spans(tubes_of(boxes, TubeRule(longest_gap=5), frozenset({12}))) == [(0, 10), (13, 30)]


def test_a_tube_reaches_its_maximum_length_across_a_gap() -> None:
    assert spans(tubes_of(still(25), TubeRule(max_frames=10))) == [(0, 10), (10, 20), (20, 25)]
    boxes = still(25)
    boxes[8:12] = [None] * 4
    assert spans(tubes_of(boxes, TubeRule(max_frames=10, longest_gap=5))) == [(0, 8), (12, 22), (22, 25)]


def test_frames_that_are_not_searched_belong_to_the_tube_before_its_limit() -> None:
    def tubes(lost: int | None) -> list[Tube]:
        builder = TubeBuilder(TubeRule(max_frames=10, longest_gap=4))
        found = [builder.step(frame, None if frame == lost else still(1)[0]) for frame in range(0, 25, 5)]
        return [tube for tube in [*found, builder.finish()] if tube is not None]

    assert spans(tubes(None)) == [(0, 10), (10, 20), (20, 21)]
    assert spans(tubes(5)) == [(0, 1), (10, 20), (20, 21)]


def test_boxes_of_a_gap_are_interpolated() -> None:
    tube = Tube([3, 7], [np.array([0.0, 0, 10, 10]), np.array([4.0, 8, 14, 18])], 100)
    boxes = tube.boxes_at(np.arange(3, 8))
    np.testing.assert_allclose(boxes[:, 0], [0, 1, 2, 3, 4])
    np.testing.assert_allclose(boxes[:, 3], [10, 12, 14, 16, 18])
    assert tube.union.tolist() == [0, 0, 14, 18]


def test_the_tracked_face_is_selected() -> None:
    left, right, large = ([0.0, 0, 50, 50], [100.0, 0, 150, 50], [300.0, 0, 400, 100])
    boxes = np.array([left, right, large])
    near_right = np.array([110.0, 5, 160, 55])
    assert choose_face(boxes, None, None, gate=True) == 2
    assert choose_face(boxes, None, near_right, gate=True) == 1
    assert choose_face(boxes, near_right, None, gate=True) == 1
    assert choose_face(boxes, np.array([5.0, 0, 200, 50]), np.array(left), gate=True) == 0
    assert choose_face(np.array([large]), None, np.array(left), gate=True) is None
    assert choose_face(np.empty((0, 4)), None, None, gate=True) is None
    # A bystander whose box touches the last one: the original rule switches to it, ours does not.
    touching = np.array([[40.0, 0, 90, 50]])
    assert choose_face(touching, None, np.array(left), gate=False) == 0
    assert choose_face(touching, None, np.array(left), gate=True) is None


def two_people(seed: int) -> Iterator[tuple[Boxes, list[int]]]:
    """Two people who approach each other, pass closely, and are each sometimes missed: boxes, and the person of each."""
    rng = np.random.default_rng(seed)
    frames = 300
    for frame in range(frames):
        apart = 70 + 150 * abs(frame / frames - 0.5)
        centers = np.array([[320 - apart / 2, 240], [320 + apart / 2, 240]]) + rng.normal(0, 1.5, (2, 2))
        boxes = np.hstack([centers - 40, centers + 40])
        seen = [who for who in range(2) if rng.random() > 0.25]
        order = rng.permutation(seen).tolist() if seen else []
        yield boxes[order].reshape(-1, 4), order


@pytest.mark.parametrize("seed", range(20))
def test_a_tube_never_switches_to_another_person(seed: int) -> None:
    builder, people, tubes, fomm_mixed = TubeBuilder(TubeRule(longest_gap=10)), dict[int, int](), list[Tube](), False
    for frame, (boxes, who) in enumerate(two_people(seed)):
        last = builder.open.boxes[-1] if builder.open else None
        chosen = choose_face(boxes, None, last, gate=True)
        if chosen is not None:
            people[frame] = who[chosen]
        if last is not None and (loose := choose_face(boxes, None, last, gate=False)) is not None:
            fomm_mixed |= who[loose] != people[builder.open.start]  # type: ignore[union-attr]
        ended = builder.step(frame, None if chosen is None else boxes[chosen])
        tubes += [ended] if ended else []
    tubes += [last_one] if (last_one := builder.finish()) else []
    assert max(tube.stop - tube.start for tube in tubes) > 100
    for tube in tubes:
        assert len({people[frame] for frame in tube.seen}) == 1
    assert fomm_mixed, "tracking by the best overlap only should fail on this sequence"


def test_people_who_are_tracked_simultaneously_are_not_confused() -> None:
    """Each face of each frame is in one tube, and no tube has faces of both."""
    for seed in range(10):
        follower, people = EveryFace(TubeRule(longest_gap=10)), dict[tuple[int, float], int]()
        for frame, (boxes, who) in enumerate(two_people(seed)):
            follower.step(frame, boxes, [0.0] * len(boxes), None, cut=False)
            people |= {(frame, float(box[0])): one for box, one in zip(boxes, who, strict=True)}
        tubes = follower.finish()
        owners = [{people[frame, float(box[0])] for frame, box in zip(tube.seen, tube.boxes, strict=True)} for tube in tubes]
        assert all(len(one) == 1 for one in owners) and set.union(*owners) == {0, 1}
        assert sum(len(tube.seen) for tube in tubes) == len(people)
        assert [tube.start for tube in tubes] == sorted(tube.start for tube in tubes)


def test_among_faces_with_the_same_start_the_largest_is_first_and_a_cut_ends_all() -> None:
    follower, boxes = EveryFace(TubeRule()), np.array([[0.0, 0, 50, 50], [300.0, 0, 400, 100]])
    for frame in range(20):
        follower.step(frame, boxes, [0.5, 1.0], None, cut=frame == 12)
    tubes = follower.finish()
    assert [(tube.start, tube.stop, tube.boxes[0][0]) for tube in tubes] == [(0, 12, 300), (0, 12, 0), (12, 20, 300), (12, 20, 0)]
    np.testing.assert_array_equal(tubes[0].scores_at(np.array([3, 12])), np.array([1.0, np.nan], np.float32))


def test_a_moving_face_is_one_tube_until_the_crop_would_show_it_too_small() -> None:
    """A face of 80 px that moves back and forth by 100 px is five tubes by the original rule."""
    swing = 250 + 50 * np.sin(np.arange(200) / 8)
    boxes: list[Boxes | None] = [np.array([x, 100, x + 80, 180]) for x in swing]
    assert len(tubes_of(boxes, TubeRule(same_place=FOMM_SAME_PLACE))) >= 5
    assert spans(tubes_of(boxes, TubeRule(widest=2.5))) == [(0, 200)]
    walking: list[Boxes | None] = [np.array([x, 100, x + 80, 180]) for x in 2.0 * np.arange(200)]
    tubes = tubes_of(walking, TubeRule(widest=2.5))
    assert spans(tubes) == [(0, 61), (61, 122), (122, 183), (183, 200)]
    assert all(tube.union[2] - tube.union[0] <= 2.5 * 80 for tube in tubes)


def test_windows_of_tubes() -> None:
    inside = np.array([200.0, 150, 300, 280])
    x0, y0, x1, y1 = tube_window("track", inside, FRAME_PX)
    assert (x1 - x0, y1 - y0) == (156, 156)
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == (250, 215)
    assert tube_window("fomm-track", inside, FRAME_PX) == (172, 137, 328, 293)
    assert tube_window("track", inside, FRAME_PX, margin=0.5) == (120, 85, 380, 345)
    assert tube_window("face", np.array([200.0, 150, 330, 280]), FRAME_PX) == (200, 150, 330, 280), "its box is its window"
    at_border = np.array([5.0, 150, 105, 280])
    assert tube_window("track", at_border, FRAME_PX)[0] == 0
    with pytest.raises(ClipRejected, match="tube_outside"):
        tube_window("fomm-track", at_border, FRAME_PX)
    huge = np.array([100.0, 0, 500, 470])
    assert tube_window("track", huge, FRAME_PX) == (18, -42, 582, 522)
