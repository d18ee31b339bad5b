"""Stratified sampling of clips: strata, allocation, and estimates of means and proportions with confidence intervals.

Intervals have 90 % confidence: about ninety of a hundred samples give an interval that contains the result of building
everything. If every clip is in the sample, they have no width.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

CONFIDENCE_LEVEL = 0.9
_TAIL = (1 + CONFIDENCE_LEVEL) / 2
# Aim for about ten sampled clips per stratum: more strata gain little, and a variance from two clips is unreliable.
_CLIPS_PER_STRATUM = 10
_MAX_STRATA_PER_SPLIT = 5
_MIN_BATCHES, _MAX_BATCHES, _CLIPS_PER_BATCH = 4, 20, 5


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its bounds, which are None if there are too few measurements."""

    value: float
    low: float | None
    high: float | None

    def times(self, factor: float, plus: float = 0.0) -> "Interval":
        """The interval of factor · x + plus, for a non-negative factor."""
        low, high = (None if bound is None else factor * bound + plus for bound in (self.low, self.high))
        return Interval(factor * self.value + plus, low, high)

    def wider(self, by: float) -> "Interval":
        """The interval widened by `by` on both sides, but not below 0."""
        low, high = self.low, self.high
        return Interval(self.value, None if low is None else max(0.0, low - by), None if high is None else high + by)

    def to_json(self) -> dict[str, float | None]:
        """JSON-serializable dict."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of clips, drawn without replacement.

    rows: int64 [n], indices into the N clips, ascending
    strata: int64 [n], stratum of each sampled clip
    sizes: int64 [H], number of clips (of all N) in each stratum
    """

    rows: I64
    strata: I64
    sizes: I64

    @property
    def share(self) -> float:
        """Sampling fraction n / N."""
        return len(self.rows) / int(self.sizes.sum())

    @property
    def counts(self) -> I64:
        """Number of sampled clips per stratum, int64 [H]."""
        return np.bincount(self.strata, minlength=len(self.sizes)).astype(np.int64)

    @property
    def weights(self) -> F64:
        """Weight of each sampled clip, float64 [n], with sum 1."""
        weights: F64 = (self.sizes / self.counts)[self.strata] / self.sizes.sum()
        return weights


def draw(split: I64, cost: F64, count: int, seed: int) -> Sample:
    """Draw `count` clips (or all, if fewer), proportionally from strata of split (a number) and cost."""
    count = min(count, len(cost))
    strata = stratify(split, cost, count)
    sizes = np.bincount(strata).astype(np.int64)
    random = np.random.default_rng([seed, count])
    drawn = [
        random.choice(np.flatnonzero(strata == number), take, replace=False)
        for number, take in enumerate(allocate(sizes, count).tolist())
    ]
    rows = np.sort(np.concatenate(drawn)).astype(np.int64)
    return Sample(rows, strata[rows], sizes)


def stratify(split: I64, cost: F64, count: int) -> I64:
    """Assign clips to strata, int64 [N], numbered without gaps: by split, and within a split into equal parts ordered by cost.

    Splits are not separated if a sample of `count` would have too few clips of each.
    """
    if count < 4 * len(np.unique(split)):
        split = np.zeros_like(split)
    strata, first = np.zeros(len(split), np.int64), 0
    for number in np.unique(split):
        members = np.flatnonzero(split == number)
        expected = count * len(members) / len(split)
        parts = int(np.clip(expected // _CLIPS_PER_STRATUM, 1, _MAX_STRATA_PER_SPLIT))
        strata[members[np.argsort(cost[members], kind="stable")]] = first + np.arange(len(members)) * parts // len(members)
        first += parts
    return strata


def allocate(sizes: I64, count: int) -> I64:
    """Number of clips to draw per stratum, int64 [H], `count` in total: proportional by largest remainders, at least two each.

    (One for strata of a single clip; no minimum if `count` is too small for two each.)
    """
    least = np.minimum(sizes, 2).astype(np.int64)
    if least.sum() > count:
        least = np.zeros(len(sizes), np.int64)
    excess = np.maximum(sizes * (count / sizes.sum()) - least, 0.0)
    remaining = count - int(least.sum())
    if not remaining:
        return least
    quota = excess * (remaining / excess.sum())
    allocated = np.floor(quota + 1e-9).astype(np.int64)
    last = np.argsort(allocated - quota, kind="stable")[: remaining - int(allocated.sum())]
    least[last] += 1
    return np.asarray(least + allocated)


def mean(values: F64, sample: Sample) -> Interval:
    """Estimate the mean over all N clips from values of the sampled clips, float64 [n]."""
    value = float(values @ sample.weights)
    if len(values) < 2:
        return Interval(value, None, None) if sample.share < 1 else Interval(value, value, value)
    part, left = sample.sizes / sample.sizes.sum(), 1 - sample.counts / sample.sizes
    parts = part**2 * left * _variances(values, sample) / sample.counts
    spread = float(parts.sum())
    # Satterthwaite's degrees of freedom: the stratum of the most expensive clips has most of the variance, but few clips.
    freedom = spread**2 / float((parts**2 / np.maximum(sample.counts - 1, 1)).sum()) if spread else 1.0
    reach = float(special.stdtrit(freedom, _TAIL)) * float(np.sqrt(spread))
    return Interval(value, value - reach, value + reach)


def _variances(values: F64, sample: Sample) -> F64:
    """Variance within each stratum, float64 [H]; that of the whole sample for strata with a single sampled clip."""
    groups = [values[sample.strata == number] for number in range(len(sample.sizes))]
    return np.array([(group if len(group) > 1 else values).var(ddof=1) for group in groups])


def proportion(hits: NDArray[np.bool_], sample: Sample) -> Interval:
    """Estimate the proportion of all N clips with a property from the sampled clips that have it, bool [n].

    Wilson's interval, which has a width even if all or none have the property. It accounts for the loss from unequal weights but
    not for the gain from stratification, and is limited by what was actually observed.
    """
    weights, size = sample.weights, float(sample.sizes.sum())
    value = float(hits @ weights)
    if sample.share == 1:
        return Interval(value, value, value)
    n = 1 / float(weights @ weights) / (1 - sample.share)
    z = float(special.ndtri(_TAIL))
    middle = (value + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z * float(np.sqrt(value * (1 - value) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)
    low, high = max(middle - reach, float(hits.sum()) / size), min(middle + reach, 1 - float((~hits).sum()) / size)
    return Interval(value, min(low, value), max(high, value))


def total_mean(values: F64, hits: NDArray[np.bool_], sample: Sample) -> Interval:
    """Estimate the mean over all N clips of `values`, float64 [n], which are 0 except where `hits`, bool [n].

    Computed as the proportion of hits times their mean. The errors of both are added in quadrature, separately for each side, so
    that the interval includes what `proportion` considers possible although it was not observed.
    """
    share = proportion(hits, sample)
    assert share.low is not None and share.high is not None
    if not hits.any():
        return Interval(0.0, None, None) if sample.share < 1 else Interval(0.0, 0.0, 0.0)
    value = float(values @ sample.weights)
    each = value / share.value
    error = mean(np.where(hits, values - each, 0.0), sample).high  # the error of `each`, times the share
    if error is None:
        return Interval(value, None, None)
    low, high = (float(np.hypot(each * (bound - share.value), error)) for bound in (share.low, share.high))
    return Interval(value, max(0.0, value - low), value + high)


def unseen(sample: Sample) -> float:
    """Upper bound, at 95 %, on the proportion of a property that no sampled clip has."""
    return proportion(np.zeros(len(sample.rows), np.bool_), sample).high or 0.0


def pace(times_s: F64, done: F64, share: float) -> Interval:
    """Estimate seconds per clip from a progress curve in steady state: times and clips done, float64 [m] each, ascending.

    The interval is from batch means: clips are finished in random order, so batches vary like samples of clips.
    share: sampling fraction n / N
    """
    clips = float(done[-1] - done[0])
    value = float(times_s[-1] - times_s[0]) / clips
    batches = int(min(_MAX_BATCHES, clips // _CLIPS_PER_BATCH))
    if batches < _MIN_BATCHES:
        return Interval(value, None, None)
    new = np.concatenate([[True], np.diff(done) > 0])
    edges = np.interp(np.linspace(done[0], done[-1], batches + 1), done[new], times_s[new])
    each = np.diff(edges) * batches / clips
    error = float(each.std(ddof=1)) / np.sqrt(batches) * np.sqrt(1 - share)
    reach = float(special.stdtrit(batches - 1, _TAIL)) * error
    return Interval(value, max(value - reach, 0.0), value + reach)
