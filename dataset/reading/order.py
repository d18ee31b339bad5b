"""The order of samples in an epoch: a pure function of the seed, the epoch and the clips (elastic determinism).

An epoch is a sequence of slots, numbered from 0. A step takes the next `global_batch_size` slots, and each rank takes a fixed
part of them, so the order is independent of the number of ranks and workers. A slot refers to a unit (a clip, or an identity with
views that draw one clip per identity) and its turn: how often the unit was drawn before, over all epochs.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from motionshards.transforms.extract.sample import splitmix64

I64 = NDArray[np.int64]

SHUFFLES = ("global", "shard", "none")
# Repeats of a unit are interleaved within blocks of this many units, so that its bytes are still cached.
_MIXED_UNITS = 256


def hashed(*numbers: NDArray[np.integer] | int) -> NDArray[np.uint64]:
    """A 64-bit hash of a tuple of integers, element by element over arrays that broadcast."""
    value: NDArray[np.uint64] = np.zeros(1, np.uint64)
    for number in numbers:
        value = splitmix64(value, np.asarray(number) + np.int64(1))
    return value


@dataclass(frozen=True, slots=True)
class Slots:
    """Some slots of an epoch.

    unit: int64, number of the unit
    turn: int64, how often the unit was drawn before, over all epochs
    """

    unit: I64
    turn: I64


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """The slots of every epoch.

    shard: int64 [U], the shard of each unit, for `shuffle="shard"`
    seed: random seed
    shuffle: `"global"` shuffles all units; `"shard"` shuffles shards, and units within a window of `window` shards, so that a
        reader needs only that many shards at a time; `"none"` keeps the order of the index
    repeats: how often each unit is drawn per epoch
    window: shards per window
    """

    shard: I64
    seed: int
    shuffle: str = "global"
    repeats: int = 1
    window: int = 8

    def __post_init__(self) -> None:
        if self.shuffle not in SHUFFLES:
            raise ValueError(f"shuffle must be one of {', '.join(SHUFFLES)}, not {self.shuffle!r}")
        if self.repeats < 1 or self.window < 1:
            raise ValueError("repeats and window must be at least 1")

    def __len__(self) -> int:
        return len(self.shard) * self.repeats

    def slots(self, epoch: int, numbers: I64) -> Slots:
        """The slots with these numbers, each in [0, len)."""
        units = _sequence(self, epoch)
        if self.repeats == 1:
            return Slots(units[numbers], np.full(len(numbers), epoch, np.int64))
        place, repeat = self._mixed(epoch, numbers)
        return Slots(units[place], epoch * self.repeats + repeat)

    def substitutes(self, epoch: int, numbers: I64, count: int) -> I64:
        """`count` random substitutes for each slot, int64 [len(numbers),count], from the same window."""
        low, high = self._bounds(epoch, numbers // self.repeats)
        drawn = hashed(self.seed, epoch, numbers[:, None], np.arange(count))
        return (low * self.repeats)[:, None] + (drawn % ((high - low) * self.repeats).astype(np.uint64)[:, None]).astype(np.int64)

    def shards(self, epoch: int, window: int) -> I64:
        """The shards of a window, for `shuffle="shard"`; empty past the last window."""
        ranked = _ranked_shards(self, epoch)
        return ranked[window * self.window : (window + 1) * self.window]

    def window_of(self, epoch: int, number: int) -> int:
        """The window of a slot; always 0 unless `shuffle="shard"`."""
        return int(np.searchsorted(_window_ends(self, epoch), number // self.repeats, side="right"))

    def _bounds(self, epoch: int, places: I64) -> tuple[I64, I64]:
        """Start and end of the window that contains each place of the sequence of units."""
        ends = _window_ends(self, epoch)
        window = np.searchsorted(ends, places, side="right")
        return np.concatenate([[0], ends[:-1]])[window], ends[window]

    def _mixed(self, epoch: int, numbers: I64) -> tuple[I64, I64]:
        """Place of each slot's unit in the epoch's sequence of units, and the number of the repeat in this epoch."""
        places = numbers // self.repeats
        if self.shuffle == "none":
            return places, numbers % self.repeats
        low, high = self._bounds(epoch, places)
        start = low + (places - low) // _MIXED_UNITS * _MIXED_UNITS
        stop = np.minimum(start + _MIXED_UNITS, high)
        within = np.empty(len(numbers), np.int64)
        for block in np.unique(start):
            here = start == block
            units = int(stop[here][0] - block)
            within[here] = _block(self, epoch, int(block), units)[numbers[here] - block * self.repeats]
        return start + within // self.repeats, within % self.repeats


@lru_cache(maxsize=4)
def _sequence(order: Order, epoch: int) -> I64:
    """The units of an epoch in order, int64 [U]. Ties between equal hashes keep the order of the index."""
    units = np.arange(len(order.shard), dtype=np.int64)
    if order.shuffle == "none":
        return units
    drawn = hashed(order.seed, epoch, units)
    if order.shuffle == "global":
        return np.argsort(drawn, kind="stable")
    return np.lexsort((drawn, _windows(order, epoch)))


@lru_cache(maxsize=4)
def _ranked_shards(order: Order, epoch: int) -> I64:
    """The shards of all units, in the order of the epoch."""
    shards = np.unique(order.shard)
    return shards if order.shuffle == "none" else shards[np.argsort(hashed(order.seed, epoch, -2, shards), kind="stable")]


@lru_cache(maxsize=4)
def _windows(order: Order, epoch: int) -> I64:
    """The window of each unit, int64 [U]."""
    ranked = _ranked_shards(order, epoch)
    place = np.empty(int(ranked.max(initial=-1)) + 1, np.int64)
    place[ranked] = np.arange(len(ranked)) // order.window
    return place[order.shard]


@lru_cache(maxsize=4)
def _window_ends(order: Order, epoch: int) -> I64:
    """Ends of the windows in the sequence of units. Unless `shuffle="shard"`, the whole epoch is one window."""
    if order.shuffle != "shard":
        return np.array([len(order.shard)], np.int64)
    return np.cumsum(np.bincount(_windows(order, epoch)))


@lru_cache(maxsize=8)
def _block(order: Order, epoch: int, start: int, units: int) -> I64:
    """A random permutation of a block's slots, int64 [units · repeats]; s is repeat s % repeats of unit s // repeats."""
    return np.argsort(hashed(order.seed, epoch, -1, start, np.arange(units * order.repeats)), kind="stable")
