"""Frames at a constant rate: the nearest in time, over the duration of the source."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.constant_rate import rate_of, shown_frames, source_rate
from motionshards.transforms.extract.timeline import Timeline

NTSC = Fraction(30000, 1001)


def at(times_s: NDArray[np.float64], header_hz: float | None = None) -> Timeline:
    return Timeline(np.asarray(times_s, float), (64, 64), header_hz)


def steady(n: int, rate: Fraction | int) -> Timeline:
    return at(7.25 + np.arange(n) / float(rate))


def frame_numbers(line: Timeline, rate: Fraction | int) -> list[int]:
    return shown_frames(line.raw_s, line.duration_s, Fraction(rate)).tolist()


@pytest.mark.parametrize(
    ("frames", "source", "rate", "expected"),
    [
        (75, 25, 25, list(range(75))),
        (12, NTSC, NTSC, list(range(12))),
        (12, 30, 25, [0, 1, 2, 4, 5, 6, 7, 8, 10, 11]),
        (12, 24, 25, list(range(12))),
        (24, 24, 25, [*range(13), *range(12, 24)]),
        (6, 15, 25, [0, 1, 1, 2, 2, 3, 4, 4, 5, 5]),
        (10, 50, 25, [0, 2, 4, 6, 8]),
        (7, 50, 25, [0, 2, 4]),
        (4, 10, 25, [0, 0, 1, 1, 2, 2, 2, 3, 3, 3]),
        (1, 25, 25, [0]),
    ],
    ids=str,
)
def test_the_frames_of_each_rate(frames: int, source: Fraction | int, rate: Fraction | int, expected: list[int]) -> None:
    assert frame_numbers(steady(frames, source), rate) == expected


def test_of_two_equally_near_frames_the_earlier_is_shown() -> None:
    assert frame_numbers(at([0, 0.02, 0.06, 0.1]), 25) == [0, 1, 2]
    assert frame_numbers(at([0, 0.02 + 1e-9, 0.06 - 1e-9, 0.1]), 25)[1] == 1
    assert frame_numbers(at([0, 0.02, 0.06 - 2e-6, 0.1]), 25)[1] == 2
    assert frame_numbers(at([0, 0.04, 0.04, 0.08]), 25)[1] == 1


def test_a_video_of_years_is_rejected() -> None:
    with pytest.raises(ClipRejected, match="too_many_packets"):
        frame_numbers(at([0, 1e9]), 25)


@pytest.mark.parametrize("seed", range(60))
def test_no_other_frame_is_nearer_at_any_time(seed: int) -> None:
    """Random, rounded times, so that many are equidistant or equal."""
    rng = np.random.default_rng(seed)
    pts = np.sort(rng.uniform(0, 3, rng.integers(1, 120))).round(2 if seed % 2 else 6)
    rate = Fraction(int(rng.integers(1, 120)), int(rng.integers(1, 4)))
    found = shown_frames(pts, duration_s := float(rng.uniform(0, 4)), rate)
    assert found.dtype == np.int64 and (np.diff(found) >= 0).all()
    assert len(found) == 1 or abs(len(found) / rate - duration_s) <= 0.5 / rate + 1e-6
    away = np.abs(pts - (pts[0] + np.arange(len(found)) / float(rate))[:, None])
    expected = (away <= away.min(axis=1, keepdims=True) + 1e-7).argmax(axis=1)
    np.testing.assert_array_equal(found, expected)


def test_rates() -> None:
    line = steady(100, 30)
    assert (rate_of("25", line), rate_of("30000/1001", line), rate_of("source", line)) == (25, NTSC, 30)


@pytest.mark.parametrize(
    ("times_s", "header_hz", "expected"),
    [
        (np.arange(90) / 29.97, 29.97, NTSC),
        ((np.arange(90) / 29.97).round(3), 29.97, NTSC),
        (np.arange(90) * 1001 / 24000, 23.98, Fraction(24000, 1001)),
        (np.arange(90) / 12.5, None, Fraction(25, 2)),
        (np.arange(90) / 25, 50.0, 25),
        (np.zeros(1), None, 25),
        (np.zeros(1), 10.0, 10),
        (np.array([0, 9000]), None, Fraction(1, 1001)),
    ],
    ids=["29.97", "milliseconds", "23.976", "12.5", "wrong header", "one frame", "one frame with a header", "hours"],
)
def test_the_rate_of_a_source(times_s: NDArray[np.float64], header_hz: float | None, expected: Fraction | int) -> None:
    assert source_rate(at(times_s, header_hz)) == expected
