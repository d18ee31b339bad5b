"""Which clips are shown: a random choice in which small splits and rare people have their part."""

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.report.clips import Clips


def choose(clips: Clips, count: int, seed: int) -> NDArray[np.int64]:
    """Numbers of up to `count` clips of `clips`, ascending; the same for the same clips and seed.

    Places are given to splits by the square root of their clips. Within a split come first clips of different people, then
    second clips of people who have one, and so on.
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
    """int64 [n]: how many clips of the same split and person come before the clip in `order`."""
    group = clips.split[order].astype(np.int64) * max(len(clips.identities), 1) + clips.identity[order]
    by_group = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[by_group], prepend=-1))
    lengths = np.diff(starts, append=len(group))
    turn = np.empty(len(group), np.int64)
    turn[order[by_group]] = np.arange(len(group)) - np.repeat(starts, lengths)
    return turn


def _places(sizes: NDArray[np.int64], count: int) -> list[int]:
    """How many of `count` places each group gets: none more than it can fill, and all are given while there are clips."""
    places = np.zeros(len(sizes), np.int64)
    for _ in range(min(count, int(sizes.sum()))):
        wish = np.where(places < sizes, np.sqrt(sizes) / (places + 0.5), -1.0)  # highest averages
        places[int(np.argmax(wish))] += 1
    return [int(number) for number in places]
