"""Summaries of action units over clips: histograms, and how much of a measure depends on the person (identity leakage)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import MOST

BINS = 10
_LEVELS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Variance:
    """Components of a variance.

    between: variance of the means of people
    within: variance of a person's values around that mean
    """

    between: float
    within: float

    @property
    def share(self) -> float:
        """The share between people, 0 to 1 (the intraclass correlation); 0 if nothing varies."""
        total = self.between + self.within
        return self.between / total if total else 0.0


def variance_of(values: NDArray[np.floating], person: NDArray[np.integer]) -> Variance | None:
    """Variance components of values [n], NaN where absent, grouped by the person numbers [n].

    One-way random effects by analysis of variance, so that few values per person are not mistaken for differences between
    people. None unless there are two people, one of them with two values.
    """
    present = np.isfinite(values)
    values, (_, person) = values[present].astype(np.float64), np.unique(person[present], return_inverse=True)
    counts = np.bincount(person).astype(np.float64)
    people, total = len(counts), len(values)
    if people < 2 or total == people:
        return None
    means = np.bincount(person, values) / counts
    within = float(((values - means[person]) ** 2).sum() / (total - people))
    between = float((counts * (means - values.mean()) ** 2).sum() / (people - 1))
    effective = (total - (counts**2).sum() / total) / (people - 1)
    return Variance(max(0.0, float((between - within) / effective)), within)


def histogram(intensities: NDArray[np.floating]) -> list[int]:
    """Number of the values [n], NaN where absent, in each of 10 bins from 0 to 5."""
    counts: list[int] = np.histogram(intensities[np.isfinite(intensities)], BINS, (0.0, MOST))[0].tolist()
    return counts


def sparkline(counts: list[int]) -> str:
    """A histogram as one character per bin, relative to the largest; bins that are not empty are always visible."""
    most = max(counts, default=0) or 1
    return "".join(_LEVELS[-(-count * (len(_LEVELS) - 1) // most)] for count in counts)
