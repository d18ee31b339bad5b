"""The distribution of values: a histogram, and the 5th, 50th and 95th percentile."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.05, 0.5, 0.95)
_FEWEST_BINS, _MOST_BINS = 10, 40
_TAIL = 0.002  # fraction of values that may be beyond the edges on either side, so that outliers do not flatten the histogram
_ROUNDING = 1e-6  # in bins: a value this close below an edge, as float32 may be, counts as the edge
_SAME = 1e-4  # values with a smaller relative difference are drawn as one: fps of 25 and 24.999
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram.

    counts: int64 [bins]; values beyond the edges are counted in the outermost bins
    edges: float64 [bins + 1], ascending, in the unit of the values
    absent: number of missing values
    below, above: number of values beyond the first and the last edge
    quantiles: the values at QUANTILES; None if there are no values
    """

    counts: NDArray[np.int64] = field(repr=False)
    edges: NDArray[np.float64] = field(repr=False)
    absent: int
    below: int
    above: int
    quantiles: tuple[float, ...] | None

    @property
    def present(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    @property
    def of_integers(self) -> bool:
        """Whether bins have width 1 and are centered on integers."""
        return bool(self.edges[0] % 1 == 0.5 and self.edges[1] - self.edges[0] == 1)


def distribution(values: NDArray[Any], limits: tuple[float, float] | None = None) -> Distribution:
    """The distribution of values [n], NaN where absent. The edges are round numbers around the values, or within `limits`."""
    present = values[np.isfinite(values)]
    low, high = limits or _range(present)
    edges = _edges(low, high, min(max(round(2 * len(present) ** (1 / 3)), _FEWEST_BINS), _MOST_BINS))
    quantiles = tuple(np.quantile(present, QUANTILES).tolist()) if len(present) else None
    rounding = _ROUNDING * float(edges[1] - edges[0])
    raised = present.astype(np.float64) + rounding
    counts, _ = np.histogram(np.clip(raised, edges[0], edges[-1]), edges)
    below, above = int((raised < edges[0]).sum()), int((raised > edges[-1] + 2 * rounding).sum())
    return Distribution(counts.astype(np.int64), edges, len(values) - len(present), below, above, quantiles)


def of_counts(counts: NDArray[np.int64], absent: int) -> Distribution:
    """The distribution of integers, of which `counts[v]` are v. Bins are centered on integers and have width 1."""
    counts = counts[: max(np.flatnonzero(counts), default=0) + 1]
    reached, total = np.cumsum(counts), int(counts.sum())
    quantiles = tuple(float(np.searchsorted(reached, share * total)) for share in QUANTILES) if total else None
    return Distribution(counts, np.arange(len(counts) + 1, dtype=np.float64) - 0.5, absent, 0, 0, quantiles)


def _range(present: NDArray[Any]) -> tuple[float, float]:
    if not len(present):
        return 0.0, 1.0
    return float(np.quantile(present, _TAIL, method="lower")), float(np.quantile(present, 1 - _TAIL, method="higher"))


def _edges(low: float, high: float, bins: int) -> NDArray[np.float64]:
    """Multiples of a round step that enclose `low` to `high` with about `bins` bins; five bins around a single value."""
    alone = high - low <= _SAME * max(abs(high), abs(low), 1e-9)
    step = round_step(max(abs(low), 1.0) / 20 if alone else (high - low) / (bins - 2))
    first, last = math.floor(low / step + _ROUNDING), math.ceil(high / step - _ROUNDING)
    if alone or last <= first:
        return (np.arange(-2.5, 3.0) + round(low / step)) * step
    return np.arange(first, last + 1, dtype=np.float64) * step


def round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `least` > 0."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _STEPS if step * power >= least * (1 - 1e-9))
