"""Histograms of action units, and the variance between and within people."""

import numpy as np
import pytest

from motionshards.transforms.extract.action_units.summary import Variance, histogram, sparkline, variance_of


def drawn(between: float, within: float, people: int, clips: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values with these standard deviations between the means of people and within people."""
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), clips)
    return random.normal(0, between, people)[person] + random.normal(0, within, people * clips), person


@pytest.mark.parametrize(("between", "within"), [(0.6, 0.3), (0.3, 0.6), (0.0, 1.0)])
def test_the_components_match_the_distribution_of_the_values(between: float, within: float) -> None:
    """Also with two clips per person, where people's means differ by chance."""
    for people, clips in ((4000, 2), (500, 20)):
        found = variance_of(*drawn(between, within, people, clips))
        assert found is not None
        assert found.within == pytest.approx(within**2, rel=0.1)
        assert found.between == pytest.approx(between**2, rel=0.15, abs=0.03)


def test_people_with_different_numbers_of_clips_missing_values_and_any_labels() -> None:
    values, person = drawn(1.0, 0.5, 300, 10)
    keep = np.random.default_rng(1).random(len(values)) < np.linspace(0.1, 1, len(values))
    found, padded = variance_of(values[keep], person[keep] * 7), variance_of(np.where(keep, values, np.nan), person * 7)
    assert found == padded and found is not None
    assert found.share == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    ("values", "person"), [([], []), ([1.0, 2.0], [3, 3]), ([1.0, 2.0, 3.0], [0, 1, 2]), ([1.0, np.nan, 3.0], [0, 0, 1])]
)
def test_too_few_people_or_clips_have_none(values: list[float], person: list[int]) -> None:
    assert variance_of(np.array(values), np.array(person, np.int64)) is None


def test_constant_values_have_a_share_of_zero() -> None:
    found = variance_of(np.ones(6), np.array([0, 0, 1, 1, 2, 2]))
    assert found == Variance(0.0, 0.0) and found.share == 0.0


def test_a_histogram_counts_present_values_and_is_drawn_to_scale() -> None:
    counts = histogram(np.array([0.0, 0.1, 0.49, 0.5, 4.9, 5.0, np.nan], np.float32))
    assert counts == [3, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert sparkline(counts) == "█▃       ▆" and sparkline([0] * 3) == "   " and sparkline([1, 1000]) == "▁█"
