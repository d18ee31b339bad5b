"""Spread and separation of generated descriptors of known people."""

import numpy as np
import pytest
from numpy.typing import NDArray

from motionshards.transforms.extract.identity.compare import TWO_PEOPLE, has_two_people, spread


def faces(*people: int, noise: float, apart: float) -> NDArray[np.float32]:
    """A descriptor per frame: people are `apart` from each other, frames of one person about `noise`; float32 [n,128]."""
    random = np.random.default_rng(len(people))
    center = np.eye(128)[list(people)] * apart / np.sqrt(2)
    return (center + random.normal(0, noise / np.sqrt(256), center.shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("people", "noise", "apart", "parts"),
    [
        ((0, 0, 0, 0, 0), 0.3, 0.8, False),
        ((0, 0, 0, 1, 1), 0.3, 0.8, True),
        ((0, 0, 1, 0, 0), 0.3, 0.8, True),
        ((1, 0, 1, 0, 1), 0.3, 0.8, True),
        ((0, 0, 0, 1, 1), 0.3, 0.4, False),
        ((0, 1, 2), 0.0, 0.7, True),
        ((0, 1), 0.0, TWO_PEOPLE + 0.01, True),
        ((0, 1), 0.0, TWO_PEOPLE - 0.01, False),
        ((0,), 0.3, 0.8, False),
        ((), 0.3, 0.8, False),
    ],
    ids=lambda value: "".join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_a_tube_is_rejected_if_its_frames_show_two_people(
    people: tuple[int, ...], noise: float, apart: float, parts: bool
) -> None:
    assert has_two_people(faces(*people, noise=noise, apart=apart)) is parts


def test_the_order_of_frames_does_not_matter() -> None:
    frames = faces(0, 0, 0, 1, 1, 0, 0, noise=0.35, apart=0.7)
    random = np.random.default_rng(0)
    assert {has_two_people(frames[random.permutation(len(frames))]) for _ in range(20)} == {has_two_people(frames)}


def test_the_spread_is_the_largest_distance_of_two_frames() -> None:
    frames = faces(0, 1, 1, 0, noise=0.2, apart=0.8)
    assert spread(frames) == pytest.approx(max(float(np.linalg.norm(a - b)) for a in frames for b in frames))
    assert spread(frames[:1]) == 0.0
