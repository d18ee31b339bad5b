"""Sampled frame numbers: stable forever, nested, and uniform."""

import itertools

import numpy as np
import pytest
from scipy.stats import chi2

from motionshards.transforms.extract.sample import sample_indices, stable_hash

KEYS = [f"id{n:05d}/vid-_{n % 7}/{n:05d}" for n in range(3000)]


@pytest.mark.parametrize("n", [0, 1, 2, 9, 10, 75, 1000])
def test_a_larger_draw_contains_every_smaller_one(n: int) -> None:
    for key in KEYS[:20]:
        smaller: set[int] = set()
        for count in range(1, min(n, 30) + 3):
            drawn = set(sample_indices(n, count, 7, key).tolist())
            assert smaller <= drawn and len(drawn) == min(n, count)
            smaller = drawn


@pytest.mark.parametrize(("n", "count"), list(itertools.product([0, 1, 5, 100, 4321], [0, 1, 5, 9, 100, 999])))
def test_numbers_are_ascending_distinct_and_in_range(n: int, count: int) -> None:
    for key in KEYS[:10]:
        drawn = sample_indices(n, count, 3, key)
        assert drawn.dtype == np.int64 and drawn.shape == (min(n, count),)
        assert (np.diff(drawn) > 0).all()
        assert not len(drawn) or (drawn[0] >= 0 and drawn[-1] < n)


def test_a_draw_of_all_is_all() -> None:
    np.testing.assert_array_equal(sample_indices(9, 9, 0, "k"), np.arange(9))
    np.testing.assert_array_equal(sample_indices(9, 100, 0, "k"), np.arange(9))


def test_the_order_never_changes() -> None:
    """Golden values, on which existing datasets depend."""
    assert sample_indices(100, 9, 0, "id00017/01dfn2spqyE/00001").tolist() == [11, 14, 24, 43, 68, 69, 84, 90, 98]
    assert sample_indices(1_000_000, 5, 2**63 - 1, "ünï/%2E/x").tolist() == [20315, 268870, 450204, 829768, 970242]
    assert stable_hash(0, "") == 13020603013274838756 and stable_hash(1, "é") == 14539680673809053299


def test_splitmix_matches_the_publication() -> None:
    """In plain Python integers, from the paper: ranks of the outputs are the permutation."""
    mask, n = 2**64 - 1, 50
    for seed, key in ((0, KEYS[0]), (11, KEYS[1])):
        state, outputs = stable_hash(seed, key), []
        for _ in range(n):
            state = (state + 0x9E3779B97F4A7C15) & mask
            z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            outputs.append(z ^ (z >> 31))
        order = sorted(range(n), key=outputs.__getitem__)
        for count in (1, 7, 49):
            assert sample_indices(n, count, seed, key).tolist() == sorted(order[:count])


def test_keys_and_seeds_draw_differently() -> None:
    by_key = {tuple(sample_indices(1000, 9, 0, key)) for key in KEYS}
    by_seed = {tuple(sample_indices(1000, 9, seed, KEYS[0])) for seed in range(3000)}
    assert len(by_key) == len(by_seed) == 3000


@pytest.mark.parametrize(("n", "count"), [(20, 9), (100, 9), (7, 1), (50, 40)])
def test_every_frame_is_drawn_about_equally_often(n: int, count: int) -> None:
    times = sum(np.bincount(sample_indices(n, count, 0, key), minlength=n) for key in KEYS)
    share = count / n
    # Draws without replacement: the counts have the covariance of a multinomial times (1 - share) n / (n - 1).
    statistic = ((times - len(KEYS) * share) ** 2).sum() / (len(KEYS) * share * (1 - share)) * (n - 1) / n
    low, high = chi2.ppf([1e-4, 1 - 1e-4], n - 1)
    assert low < statistic < high


def test_pairs_of_frames_are_drawn_independently() -> None:
    drawn = np.zeros((len(KEYS), 10))
    for row, key in zip(drawn, KEYS, strict=True):
        row[sample_indices(10, 5, 0, key)] = 1
    correlation = np.corrcoef(drawn.T)[~np.eye(10, dtype=bool)]
    assert np.abs(correlation + 1 / 9).max() < 5 / np.sqrt(len(KEYS))
