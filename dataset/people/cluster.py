"""Agglomerative clustering with average linkage over squared Euclidean distances, in memory linear in the number of points.

The mean squared distance between the points of two groups is |a - b|² + s + t, with means a and b, and s and t the mean squared
distances of the points of each group to its mean. No distance matrix is needed (scipy's takes 40 GB for 100,000 points). Average
linkage is reducible: mutual nearest neighbors are merged eventually, so all such pairs can be merged at once (Murtagh 1983).
Nearest groups are found by blockwise matrix products.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

_BLOCK = 1 << 24  # distances at a time


@dataclass(frozen=True, slots=True)
class _Groups:
    """count: float32 [g], number of points; mean: float32 [g,128]; within: float32 [g], mean squared distance of points to it"""

    count: F32
    mean: F32
    within: F32

    @classmethod
    def of(cls, points: F32, label: I64) -> "_Groups":
        """Group points by `label`, int64 [n], in which all numbers 0 to g - 1 occur."""
        mean, count = means(points, label)
        within: F32 = np.bincount(label, distances(points, mean, label) ** 2).astype(np.float32) / count
        return cls(count, mean, within)

    def merge(self, first: I64, second: I64) -> None:
        """Merge groups `second` into `first`, in place."""
        count = self.count[first] + self.count[second]
        share = (self.count[second] / count)[:, None]
        step = self.mean[second] - self.mean[first]
        between = (share * (1 - share))[:, 0] * np.einsum("ij,ij->i", step, step)
        inside = self.count[first] * self.within[first] + self.count[second] * self.within[second]
        self.within[first] = inside / count + between
        self.mean[first] += share * step
        self.count[first] = count

    def nearest(self, rows: I64, among: I64) -> tuple[I64, F32]:
        """The nearest other group in `among` of each group in `rows`, a subset of it, and its squared distance; both ascend."""
        mean = self.mean[among]
        own = np.einsum("ij,ij->i", mean, mean) + self.within[among]
        place = np.searchsorted(among, rows)
        found, apart = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
        step = max(1, _BLOCK // len(among))
        for start in range(0, len(rows), step):
            part = place[start : start + step]
            squared = mean[part] @ mean.T
            squared *= -2
            squared += own
            squared[np.arange(len(part)), part] = np.inf
            best = squared.argmin(axis=1)
            found[start : start + step] = among[best]
            apart[start : start + step] = squared[np.arange(len(part)), best] + own[part]
        return found, apart


def cluster(points: F32, video: I64, limit: float) -> I64:
    """Assign points to people, int64 [n], numbered by descending number of points, ties by first point.

    Points are clustered within each video first, then across videos, so time is quadratic in the number of videos.

    points: float32 [n,128]
    video: int64 [n], number of the video of each point
    limit: groups are merged while the root mean squared distance between their points is at most this
    """
    if not len(points):
        return np.empty(0, np.int64)
    label = np.arange(len(points))
    order = np.argsort(video, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(video[order])) + 1):
        if len(part) > 1:
            label[part] = part[_joined(_Groups.of(points[part], np.arange(len(part))), limit)]
    label = np.unique(label, return_inverse=True)[1]
    return _by_size(_joined(_Groups.of(points, label), limit)[label])


def means(points: F32, label: I64) -> tuple[F32, F32]:
    """Mean, float32 [g,128], and number of points of each group; `label`, int64 [n], contains all numbers 0 to g - 1."""
    count = np.bincount(label).astype(np.float32)
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], np.arange(len(count)))
    sums = np.add.reduceat(points[order], starts) if len(points) else points
    return (sums / count[:, None]).astype(np.float32), count


def distances(points: F32, mean: F32, label: I64) -> F32:
    """Distance of each point to the mean of its group, float32 [n]."""
    steps = [
        points[start : start + (1 << 16)] - mean[label[start : start + (1 << 16)]] for start in range(0, len(points), 1 << 16)
    ]
    return np.concatenate([np.linalg.norm(step, axis=1) for step in steps] or [np.empty(0, np.float32)])


def _joined(groups: _Groups, limit: float) -> I64:
    """The number of a representative group for each group; groups that were merged have the same one."""
    home = np.arange(len(groups.count))
    nearest, apart = np.zeros_like(home), np.full(len(home), np.inf, np.float32)
    left = stale = home.copy()
    while len(left) > 1:
        nearest[stale], apart[stale] = groups.nearest(stale, left)
        close = left[apart[left] <= limit**2]
        if not len(close):
            break
        # Rounding can put one of a pair below the limit and the other above it.
        left = np.union1d(close, nearest[close])
        mutual = close[nearest[nearest[close]] == close]
        pairs = mutual if len(mutual) else close[[np.argmin(apart[close])]]
        first, second = np.unique(np.sort(np.stack([pairs, nearest[pairs]], axis=1), axis=1), axis=0).T
        groups.merge(first, second)
        home[second] = first
        left = np.setdiff1d(left, second)
        stale = left[np.isin(left, first) | np.isin(nearest[left], np.concatenate([first, second]))]
    while (home[home] != home).any():
        home = home[home]
    return home


def _by_size(label: I64) -> I64:
    """The same groups, numbered by descending size."""
    _, first, label, count = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(count), np.int64)
    rank[np.lexsort((first, -count))] = np.arange(len(count))
    return rank[label]
