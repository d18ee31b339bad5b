"""Selects the clips to show: a random sample, stratified by split and identity."""

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.report.clips import Clips


def choose(clips: Clips, count: int, seed: int) -> NDArray[np.int64]:
    """Select up to `count` of `clips`: their numbers, ascending; deterministic for the same clips and seed.

    Splits are represented in proportion to the square root of their number of clips. Within a split, one clip of each person
    is selected first, then a second one, and so on.
    """
    random = np.random.default_rng([seed, 0])
    order = random.permutation(len(clips))
    turn = _turns(clips, order)
    chosen = [
        mine[np.argsort(turn[mine], kind="stable")][:places]
        for split, places in enumerate(_places(np.bincount(clips.split, minlength=len(clips.splits)), count))
        for mine in [order[clips.split[order] == split]]
    ]
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))


def _turns(clips: Clips, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each clip, the number of clips of the same split and person that precede it in `order`: int64 [n]."""
    group = clips.split[order].astype(np.int64) * max(len(clips.identities), 1) + clips.identity[order]
    by_group = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[by_group], prepend=-1))
    lengths = np.diff(starts, append=len(group))
    turn = np.empty(len(group), np.int64)
    turn[order[by_group]] = np.arange(len(group)) - np.repeat(starts, lengths)
    return turn


def _places(sizes: NDArray[np.int64], count: int) -> list[int]:
    """Distribute `count` places over groups, at most as many as each has members, by the highest averages method."""
    places = np.zeros(len(sizes), np.int64)
    for _ in range(min(count, int(sizes.sum()))):
        claim = np.where(places < sizes, np.sqrt(sizes) / (places + 0.5), -1.0)
        places[int(np.argmax(claim))] += 1
    return [int(number) for number in places]
