"""Random choices among the frames of clips, each a pure function of the seed, the clip and its turn.

B: clips, N: candidates of the clip with the most candidates.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.order import I64, hashed
from motionshards.transforms.extract.sample import splitmix64

MOST = 4096
"""Maximum number of candidates; of longer clips, evenly spaced frames are candidates, different ones in each turn."""
NEVER = np.uint64(np.iinfo(np.uint64).max)
"""Rank of a frame that must not be chosen."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Frames of clips in time order, each with a random rank.

    frames: int64 [B,N], padded with arbitrary frames of the clip
    ranks: uint64 [B,N], padded with NEVER
    counts: int64 [B], number of candidates
    """

    frames: I64
    ranks: NDArray[np.uint64]
    counts: I64

    @classmethod
    def of(cls, catalog: Catalog, seed: int, clip: I64, turn: I64, counts: I64) -> "Candidates":
        """The candidates among the first `counts` frames, int64 [B], of each clip."""
        row = catalog.arrays["row"][clip]
        shift = None
        if (counts > MOST).any():
            shift = (hashed(seed, row, turn, -6) % np.maximum(counts, 1).astype(np.uint64)).astype(np.int64)
        frames, inside = spread(counts, MOST, shift)
        drawn = splitmix64(hashed(seed, row, turn)[:, None], np.arange(frames.shape[1]) + 1)
        return cls(frames, np.where(inside, drawn, NEVER), np.minimum(counts, MOST))

    def least(self, count: int) -> I64:
        """The frames with the `count` lowest ranks, int64 [B,count], lowest first."""
        return np.take_along_axis(self.frames, np.argsort(self.ranks, axis=1, kind="stable")[:, :count], axis=1)


def spread(counts: I64, most: int, shift: I64 | None = None) -> tuple[I64, NDArray[np.bool_]]:
    """Per row, all numbers below `counts`, int64 [B], or `most` of them, evenly spaced.

    shift: int64 [B], offset of evenly spaced numbers, in units of 1 / `counts` of their distance

    Returns the numbers, int64 [B,N], and a mask, bool [B,N], False where a row is padded.
    """
    offered = np.minimum(counts, most)
    numbers = np.arange(offered.max(initial=0))
    moved = 0 if shift is None else np.where(counts > most, shift, 0)[:, None]
    found = (numbers * counts[:, None] + moved) // np.maximum(offered, 1)[:, None]
    return np.minimum(found, np.maximum(counts - 1, 0)[:, None]), numbers < offered[:, None]


def values_of(catalog: Catalog, name: str, clip: I64, rows: I64) -> NDArray[Any]:
    """The values of a per-frame array for described frames `rows`, int64 [B,N], of each clip: [B,N,...]."""
    values: NDArray[Any] = catalog.arrays[name][catalog.arrays["first"][clip][:, None] + rows]
    return values
