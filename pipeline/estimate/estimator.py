"""What a random sample of clips says about all: strata, how many of each are drawn, means and shares with their intervals.

Intervals are of 90 %: of a hundred samples about ninety give one that holds what building everything would give. With every clip
in the sample they have no width.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

SURE = 0.9
_TAIL = (1 + SURE) / 2
# A stratum is to hold some ten clips of the sample: more strata gain little, and a variance of two clips is a poor one.
_CLIPS_A_STRATUM = 10
_MOST_OF_A_SPLIT = 5
_FEWEST_BATCHES, _MOST_BATCHES, _CLIPS_A_BATCH = 4, 20, 5


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its bounds; these are None where too little was measured to give any."""

    value: float
    low: float | None
    high: float | None

    def times(self, factor: float, plus: float = 0.0) -> "Interval":
        """factor · this + plus, for a factor that is not negative."""
        low, high = (None if bound is None else factor * bound + plus for bound in (self.low, self.high))
        return Interval(factor * self.value + plus, low, high)

    def wider(self, by: float) -> "Interval":
        """This with as much doubt besides, though nothing is below 0."""
        low, high = self.low, self.high
        return Interval(self.value, None if low is None else max(0.0, low - by), None if high is None else high + by)

    def to_json(self) -> dict[str, float | None]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Sample:
    """Clips drawn without putting back.

    rows: int64 [n], which of the N clips, ascending
    strata: int64 [n], the stratum of each
    sizes: int64 [H], how many of the N clips each stratum has
    """

    rows: I64
    strata: I64
    sizes: I64

    @property
    def share(self) -> float:
        """n / N"""
        return len(self.rows) / int(self.sizes.sum())

    @property
    def taken(self) -> I64:
        """int64 [H], how many were drawn of each stratum"""
        return np.bincount(self.strata, minlength=len(self.sizes)).astype(np.int64)

    @property
    def weights(self) -> F64:
        """float64 [n], which part of all clips each one stands for; their sum is 1"""
        weights: F64 = (self.sizes / self.taken)[self.strata] / self.sizes.sum()
        return weights


def draw(split: I64, cost: F64, count: int, seed: int) -> Sample:
    """`count` clips at random (all, where there are no more), in proportion from strata of split (a number) and cost."""
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
    """The stratum of each clip, int64 [N], numbered without gaps: splits, and within a split equal parts in the order of cost.

    Splits are left together where a sample of `count` would give few clips to each.
    """
    if count < 4 * len(np.unique(split)):
        split = np.zeros_like(split)
    strata, first = np.zeros(len(split), np.int64), 0
    for number in np.unique(split):
        members = np.flatnonzero(split == number)
        expected = count * len(members) / len(split)
        parts = int(np.clip(expected // _CLIPS_A_STRATUM, 1, _MOST_OF_A_SPLIT))
        strata[members[np.argsort(cost[members], kind="stable")]] = first + np.arange(len(members)) * parts // len(members)
        first += parts
    return strata


def allocate(sizes: I64, count: int) -> I64:
    """How many to draw of each stratum, int64 [H], `count` in all: in proportion by largest remainders, and two at least.

    (One where a stratum has no more, and as it comes where `count` is too small for two.)
    """
    least = np.minimum(sizes, 2).astype(np.int64)
    if least.sum() > count:
        least = np.zeros(len(sizes), np.int64)
    wanted = np.maximum(sizes * (count / sizes.sum()) - least, 0.0)
    rest = count - int(least.sum())
    if not rest:
        return least
    quota = wanted * (rest / wanted.sum())
    taken = np.floor(quota + 1e-9).astype(np.int64)
    last = np.argsort(taken - quota, kind="stable")[: rest - int(taken.sum())]
    least[last] += 1
    return np.asarray(least + taken)


def mean(values: F64, sample: Sample) -> Interval:
    """The mean over all N clips of what was measured on those of the sample, float64 [n]."""
    value = float(values @ sample.weights)
    if len(values) < 2:
        return Interval(value, None, None) if sample.share < 1 else Interval(value, value, value)
    part, left = sample.sizes / sample.sizes.sum(), 1 - sample.taken / sample.sizes
    parts = part**2 * left * _variances(values, sample) / sample.taken
    spread = float(parts.sum())
    # Satterthwaite: the stratum of the dearest clips has most of the variance, and few clips that tell it.
    freedom = spread**2 / float((parts**2 / np.maximum(sample.taken - 1, 1)).sum()) if spread else 1.0
    reach = float(special.stdtrit(freedom, _TAIL)) * float(np.sqrt(spread))
    return Interval(value, value - reach, value + reach)


def _variances(values: F64, sample: Sample) -> F64:
    """float64 [H]; that of the whole sample for a stratum of which one clip was drawn."""
    groups = [values[sample.strata == number] for number in range(len(sample.sizes))]
    return np.array([(group if len(group) > 1 else values).var(ddof=1) for group in groups])


def proportion(hits: NDArray[np.bool_], sample: Sample) -> Interval:
    """The share of all N clips for which something holds that was looked at on those of the sample, bool [n].

    Wilson's interval, which has a width also where all or none were hit. What strata gain is left out of it, what unequal weights
    lose is not; and what was seen cannot be otherwise.
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
    """The mean over all N clips of what only those have that are hit: float64 [n], 0 elsewhere; bool [n].

    The share of the hit times their mean, whose errors are added as squares, each to its side: so what `proportion` holds
    possible though it was not seen is in it.
    """
    share = proportion(hits, sample)
    assert share.low is not None and share.high is not None
    if not hits.any():
        return Interval(0.0, None, None) if sample.share < 1 else Interval(0.0, 0.0, 0.0)
    value = float(values @ sample.weights)
    each = value / share.value
    rest = mean(np.where(hits, values - each, 0.0), sample).high  # the error of `each`, times the share
    if rest is None:
        return Interval(value, None, None)
    low, high = (float(np.hypot(each * (bound - share.value), rest)) for bound in (share.low, share.high))
    return Interval(value, max(0.0, value - low), value + high)


def unseen(sample: Sample) -> float:
    """The largest share that something may have of which the sample shows nothing, at 95 %."""
    return proportion(np.zeros(len(sample.rows), np.bool_), sample).high or 0.0


def pace(times_s: F64, done: F64, share: float) -> Interval:
    """Seconds a clip, from what was finished when: float64 [m] and [m], both ascending, between two moments of steady work.

    The interval is that of batch means: clips are finished in random order, so batches of them differ as samples of clips do.
    share: n / N of the sample
    """
    clips = float(done[-1] - done[0])
    value = float(times_s[-1] - times_s[0]) / clips
    batches = int(min(_MOST_BATCHES, clips // _CLIPS_A_BATCH))
    if batches < _FEWEST_BATCHES:
        return Interval(value, None, None)
    new = np.concatenate([[True], np.diff(done) > 0])
    edges = np.interp(np.linspace(done[0], done[-1], batches + 1), done[new], times_s[new])
    each = np.diff(edges) * batches / clips
    error = float(each.std(ddof=1)) / np.sqrt(batches) * np.sqrt(1 - share)
    reach = float(special.stdtrit(batches - 1, _TAIL)) * error
    return Interval(value, max(value - reach, 0.0), value + reach)
