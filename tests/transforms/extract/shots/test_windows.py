"""The measures that decide whether the network runs."""

import itertools

import numpy as np
import pytest

from benchmarks import shot_joins
from motionshards.transforms.extract.shots.windows import color_change, jump, may_change, sudden

PHOTOGRAPHS = shot_joins.photographs(125)


@pytest.mark.parametrize("frames", [0, 1, 3, 10, 25, 50])
@pytest.mark.parametrize("shade", ["color", "gray", "dark"])
def test_every_join_triggers_the_network(frames: int, shade: str) -> None:
    for before, after in itertools.permutations(PHOTOGRAPHS[:5], 2):
        joined = shot_joins.dissolve(before[: 50 + frames // 2], after, frames)[:100]
        if shade != "color":
            joined = np.repeat(joined.mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8)
        assert may_change((joined * 0.4).astype(np.uint8) if shade == "dark" else joined)


def test_a_moving_camera_does_not_trigger_the_network() -> None:
    assert [may_change(clip[:100]) for clip in PHOTOGRAPHS[:3]] == [False] * 3


def test_a_cut_between_images_of_the_same_colors_is_a_jump() -> None:
    first = PHOTOGRAPHS[0][0]
    window = np.stack([first] * 60 + [np.ascontiguousarray(first[:, ::-1])] * 40)
    assert color_change(window).max() == 0
    assert jump(window).argmax() == 57, "steps are counted from the third"
    assert may_change(window)


def test_colors_are_compared_a_second_apart_in_units_of_contrast() -> None:
    frame = np.zeros((27, 48, 3), np.uint8)
    frame[:, 24:] = 100
    lighter = frame + np.uint8(26)
    change = color_change(np.stack([frame] * 50 + [lighter] * 50))
    assert change.shape == (75,)
    np.testing.assert_allclose(change, np.where((np.arange(75) >= 25) & (np.arange(75) < 50), 26 / 52, 0))


def test_black_frames_do_not_trigger_the_network() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (100, 27, 48, 3)).astype(np.uint8)
    assert not may_change(noise)


def test_the_last_frame_before_a_hard_cut_is_sudden_and_a_blended_frame_is_not() -> None:
    hard = shot_joins.dissolve(PHOTOGRAPHS[0][:50], PHOTOGRAPHS[1], 0)[:100]
    mixed = shot_joins.dissolve(PHOTOGRAPHS[0][:50], PHOTOGRAPHS[1], 1)[:100]
    assert sudden(hard).shape == (50,)
    assert np.flatnonzero(sudden(hard)).tolist() == [49 - 25]
    assert not sudden(mixed)[49 - 25]
