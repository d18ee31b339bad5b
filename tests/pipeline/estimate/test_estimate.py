"""Statistics of estimates on synthetic corpora with known truth, and the pace computed from a run's trace."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from motionshards.pipeline.estimate import estimator
from motionshards.pipeline.estimate.estimate import _steady
from motionshards.pipeline.estimate.estimator import Interval, Sample
from motionshards.pipeline.estimate.meter import Meter, cpu_s_below
from motionshards.pipeline.estimate.report import Run, expected_time
from motionshards.pipeline.runners.choose import Runner
from motionshards.pipeline.runners.progress import Silent

ROUNDS = 400
# Of 400 intervals with 90 % confidence, between 344 and 380 contain the truth, except with a probability of about 1 in 60.
ABOUT_90 = (0.86, 0.95)


@dataclass(frozen=True)
class Corpus:
    """N synthetic clips: split, cost, whether each would be kept, and its bytes."""

    split: np.ndarray
    cost: np.ndarray
    kept: np.ndarray
    bytes: np.ndarray


def corpus(clips: int, rejected: float, seed: int = 0) -> Corpus:
    """Expensive clips are large and rarely rejected; one in twelve is in the second split, where more are rejected."""
    random = np.random.default_rng(seed)
    split, cost = (random.random(clips) < 1 / 12).astype(np.int64), random.lognormal(0, 0.6, clips)
    kept = random.random(clips) > rejected * (1 + split) * 2 / (1 + cost)
    return Corpus(split, cost, kept, kept * 1000 * cost * random.lognormal(0, 0.4, clips))


def coverage(data: Corpus, count: int, measure: Callable[[Sample], Interval], truth: float) -> tuple[float, float]:
    """Coverage of the intervals of new samples, and the mean error of the estimates in standard errors."""
    found = [measure(estimator.draw(data.split, data.cost, count, seed)) for seed in range(ROUNDS)]
    values = np.array([one.value for one in found])
    covered = np.mean([one.low is not None and one.high is not None and one.low <= truth <= one.high for one in found])
    return float(covered), float((values.mean() - truth) / (values.std(ddof=1) / np.sqrt(ROUNDS)))


@pytest.mark.parametrize(("clips", "count", "rejected"), [(3000, 120, 0.1), (3000, 60, 0.1), (400, 200, 0.3)])
def test_interval_of_a_mean_has_90_percent_coverage(clips: int, count: int, rejected: float) -> None:
    data = corpus(clips, rejected)
    covered, bias = coverage(data, count, lambda drawn: estimator.mean(data.bytes[drawn.rows], drawn), float(data.bytes.mean()))
    assert ABOUT_90[0] <= covered <= ABOUT_90[1]
    assert abs(bias) < 3.5, "the estimate is biased"


@pytest.mark.parametrize(("clips", "count", "rejected"), [(3000, 120, 0.1), (3000, 60, 0.02), (400, 200, 0.3)])
def test_interval_of_bytes_of_kept_clips_has_at_least_90_percent_coverage(clips: int, count: int, rejected: float) -> None:
    """The interval ignores the gain from stratification, and includes unobserved values."""
    data, truth = corpus(clips, rejected), float(corpus(clips, rejected).bytes.mean())
    covered, bias = coverage(data, count, lambda of: estimator.total_mean(data.bytes[of.rows], data.kept[of.rows], of), truth)
    assert covered >= ABOUT_90[0]
    assert abs(bias) < 3.5, "the estimate is biased"


def test_interval_from_30_very_unequal_clips_is_slightly_too_short() -> None:
    data = corpus(150, 0.2)
    covered, bias = coverage(data, 30, lambda drawn: estimator.mean(data.bytes[drawn.rows], drawn), float(data.bytes.mean()))
    assert 0.78 <= covered <= ABOUT_90[1]
    assert abs(bias) < 3.5, "the estimate is biased"


@pytest.mark.parametrize(("clips", "count", "rejected"), [(3000, 120, 0.1), (3000, 100, 0.02), (400, 200, 0.3), (60, 30, 0.2)])
def test_interval_of_a_share_has_at_least_90_percent_coverage(clips: int, count: int, rejected: float) -> None:
    """Counts are discrete, and the gain from stratification is ignored, so coverage may be higher."""
    data = corpus(clips, rejected)
    covered, bias = coverage(
        data, count, lambda drawn: estimator.proportion(data.kept[drawn.rows], drawn), float(data.kept.mean())
    )
    assert covered >= ABOUT_90[0]
    assert abs(bias) < 3.5, "the estimate is biased"


@pytest.mark.parametrize("hit", [True, False])
@pytest.mark.parametrize("count", [1, 2, 10, 99])
def test_a_share_of_all_or_none_has_a_width_until_every_clip_is_in_the_sample(hit: bool, count: int) -> None:
    data = corpus(100, 0.0)
    drawn = estimator.draw(data.split, data.cost, count, seed=0)
    found = estimator.proportion(np.full(count, hit), drawn)
    assert found.low is not None and found.high is not None
    assert found.value == float(hit)
    assert 0 <= found.low < found.high <= 1
    assert 0 < estimator.unseen(drawn) < 1
    same = estimator.total_mean(np.full(count, 7.0) * hit, np.full(count, hit), drawn)
    if hit and count > 1:
        assert same.low is not None
        assert same.low < same.value == pytest.approx(7.0) == same.high
    everything = estimator.draw(data.split, data.cost, 1000, seed=0)
    assert estimator.proportion(np.full(100, hit), everything) == Interval(float(hit), float(hit), float(hit))
    assert estimator.unseen(everything) == 0


def test_estimates_from_all_clips_are_exact() -> None:
    data = corpus(50, 0.2)
    drawn = estimator.draw(data.split, data.cost, 50, seed=3)
    assert drawn.rows.tolist() == list(range(50))
    found = estimator.mean(data.bytes, drawn)
    assert (found.low, found.high) == (pytest.approx(found.value), pytest.approx(found.value))
    assert found.value == pytest.approx(data.bytes.mean())


def test_interval_respects_observed_clips() -> None:
    data = corpus(20, 0.0)
    drawn = estimator.draw(data.split, data.cost, 18, seed=0)
    hits = np.arange(18) < 9
    found = estimator.proportion(hits, drawn)
    assert found.low is not None and found.high is not None
    assert 9 / 20 <= found.low <= found.value <= found.high <= 1 - 9 / 20


def test_weights_match_the_size_of_strata() -> None:
    for clips, count, seed in ((1000, 100, 0), (1000, 7, 1), (30, 29, 2), (5, 1, 3), (1, 1, 4), (64, 9, 5)):
        data = corpus(clips, 0.1, seed)
        drawn = estimator.draw(data.split, data.cost, count, seed)
        assert len(set(drawn.rows.tolist())) == count
        assert drawn.counts.sum() == count
        assert drawn.sizes.sum() == clips
        assert (drawn.counts >= 1).all() and (drawn.counts <= drawn.sizes).all()
        assert drawn.weights.sum() == pytest.approx(1)


def test_sampling_depends_on_the_seed_only() -> None:
    data = corpus(500, 0.1)
    rows = [estimator.draw(data.split, data.cost, 40, seed).rows.tolist() for seed in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]


def test_strata_are_equal_parts_of_a_split_in_the_order_of_cost() -> None:
    data = corpus(1200, 0.1)
    strata = estimator.stratify(data.split, data.cost, 120)
    for number in range(strata.max() + 1):
        assert len(set(data.split[strata == number].tolist())) == 1
    largest = [number for number in range(strata.max() + 1) if data.split[strata == number][0] == 0]
    assert len(largest) == 5
    sizes = [int((strata == number).sum()) for number in largest]
    assert max(sizes) - min(sizes) <= 1
    for cheap, expensive in pairwise(largest):
        assert data.cost[strata == cheap].max() <= data.cost[strata == expensive].min()


@pytest.mark.parametrize("sizes", [[10, 10], [997, 3], [1, 1, 1], [1, 500, 2], [7, 7, 7, 1], [5]])
def test_allocation_is_proportional_to_a_clip_and_omits_no_stratum(sizes: list[int]) -> None:
    whole = np.array(sizes, np.int64)
    for count in range(2 * len(sizes), sum(sizes) + 1):
        allocated = estimator.allocate(whole, count)
        assert allocated.sum() == count
        assert (allocated <= whole).all()
        assert (allocated >= np.minimum(whole, 2)).all()
        quota = whole * count / whole.sum()
        if (quota >= 2).all():
            assert (np.abs(allocated - quota) < 1).all()


def test_interval_of_a_pace_has_90_percent_coverage() -> None:
    """One worker with clips of very different lengths, observed every 0.2 s as in a run."""
    covered = 0
    for seed in range(ROUNDS):
        random = np.random.default_rng(seed)
        ends = np.cumsum(random.lognormal(-1.5, 0.8, 150))
        times = np.arange(0, ends[-1], 0.2)
        done = np.searchsorted(ends, times).astype(np.float64)
        found = estimator.pace(times[done > 0], done[done > 0], share=0.0)
        assert found.low is not None and found.high is not None
        covered += found.low <= np.exp(-1.5 + 0.8**2 / 2) <= found.high
    assert ABOUT_90[0] - 0.02 <= covered / ROUNDS <= ABOUT_90[1] + 0.02


def test_pace_has_no_interval_for_few_clips_and_zero_width_for_all() -> None:
    times, done = np.array([0.0, 4.0]), np.array([0.0, 8.0])
    assert estimator.pace(times, done, share=0.1) == Interval(0.5, None, None)
    times, done = np.arange(30.0), np.arange(30.0) // 3 * 3
    found = estimator.pace(times, done, share=1.0)
    assert found.value == found.low == found.high == pytest.approx(29 / 27)


def test_pace_excludes_the_start_and_the_end_of_a_run() -> None:
    """Two workers take 10 s to start, then finish two clips per second each; one finishes 5 s before the other."""
    meter = Meter(70, Silent())
    both, one = [(1010 + t / 2, 2 * t) for t in range(1, 31)], [(1025 + t / 2, 60 + t) for t in range(1, 11)]
    meter.trace = [(1000 + t, 0) for t in range(10)] + both + one
    steady = _steady(meter, [1025.1, 1030.1], 70)
    assert steady is not None
    assert estimator.pace(*steady, share=0.0).value == pytest.approx(0.25)
    assert meter.first_s == 1010.5
    assert _steady(meter, [1010.6, 1030.1], 70) is None, "one worker had almost nothing to do"


def test_restarted_worker_does_not_decrease_progress() -> None:
    meter = Meter(20, Silent())
    meter.trace = [(0.0, 0), (1.0, 6), (2.0, 4), (3.0, 8)]
    assert meter.steps()[1].tolist() == [0, 6, 6, 8]


def test_cpu_seconds_are_those_of_descendants() -> None:
    before = cpu_s_below(os.getpid())
    program = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True)\ntime.sleep(60)"
    outer = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {program!r}])"
    child = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert 0.3 < cpu_s_below(os.getpid()) - before < 2
    finally:
        os.killpg(child.pid, 9)
        child.wait()


def test_meter_measures_cpu_seconds_of_clips_only(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter([7.0, 9.0, 12.0])
    monkeypatch.setattr("motionshards.pipeline.estimate.meter.cpu_s_below", lambda pid: next(spent))
    monkeypatch.setattr("motionshards.pipeline.estimate.meter._LOOK_EVERY_S", 0.0)
    meter = Meter(11, Silent())
    for clips in (1, 5, 11):
        meter.update(clips)
        time.sleep(0.001)
    assert meter.cpu_s_per_clip() == pytest.approx((12.0 - 7.0) / 10)


def test_hours_are_those_of_all_clips_and_what_happens_once_is_counted_once() -> None:
    run = Run(seconds=60, start_s=8.0, clip_s=Interval(0.5, 0.4, 0.6), cpu_s=0.9)
    told = expected_time(run, planning_s=28.0, clips=72_000, shards=40, runner=Runner(workers=4), gpus=8)
    assert told["hours"] == {key: pytest.approx(hours + 0.01) for key, hours in (("value", 10.0), ("low", 8.0), ("high", 12.0))}
    assert told["hours_by_workers"]["16"]["value"] == pytest.approx(2.5 + 0.01)
    assert told["hours_by_workers"]["1"]["value"] == pytest.approx(40.0 + 0.01)
    assert [*told["hours_by_workers"]] == ["1", "2", "4", "8", "16", "32"], "a worker builds whole shards"
    assert told["core_hours"] == pytest.approx(18.0)
    assert (told["gpus"], told["gpu_hours"]["value"]) == (4, pytest.approx(40.04))
    afar = expected_time(run, 28.0, 72_000, 40, Runner(name="portable", endpoint="here:1"), gpus=0)
    assert (afar["workers"], afar["hours_by_workers"], afar["gpu_hours"]) == (None, None, None)
