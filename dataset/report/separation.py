"""How well face descriptors separate identities: distances of pairs, and the ROC curve."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from motionshards.dataset.report.distribution import Distribution, distribution

_FARTHEST = 1.2
_POINTS = 200


@dataclass(frozen=True, slots=True)
class Separation:
    """Separation of identities over pairs of clips.

    same, other: distances of pairs of the same and of different identities
    curve: float64 [points,2], false and true positive rate for ascending thresholds
    area: area under that curve; None without pairs of both kinds
    threshold, error: the equal error rate, and its threshold
    """

    same: Distribution
    other: Distribution
    curve: NDArray[np.float64] = field(repr=False)
    area: float | None
    threshold: float
    error: float


def separation(embeddings: NDArray[np.float32], identity: NDArray[np.int32]) -> Separation:
    """Compute it from descriptors float32 [n,128] and identities int32 [n]. Clips without a descriptor (NaN) are ignored."""
    known = np.isfinite(embeddings).all(axis=1)
    apart, first, second = pdist(embeddings[known]), *np.triu_indices(int(known.sum()), 1)
    is_same = identity[known][first] == identity[known][second]
    same, other = np.sort(apart[is_same]), np.sort(apart[~is_same])
    spreads = [distribution(distances, (0.0, _FARTHEST)) for distances in (same, other)]
    if not len(same) or not len(other):
        return Separation(spreads[0], spreads[1], np.empty((0, 2)), None, 0.0, 0.0)
    thresholds = np.quantile(apart, np.linspace(0, 1, _POINTS))
    false, true = (_share_below(distances, thresholds) for distances in (other, same))
    area = 1 - float(_share_below(other, same).mean())
    equal = np.argmin(abs(_share_below(other, apart) + _share_below(same, apart) - 1))
    curve = np.concatenate([[[0.0, 0.0]], np.stack([false, true], axis=1)])
    error = float(_share_below(other, apart[[equal]])[0])
    return Separation(spreads[0], spreads[1], curve, area, float(apart[equal]), error)


def _share_below(distances: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The fraction of the ascending `distances` that are at most each threshold."""
    return np.searchsorted(distances, thresholds, side="right") / len(distances)
