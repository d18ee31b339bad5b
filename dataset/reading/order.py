"""In which order an epoch goes through its clips: a pure function of the seed, the epoch and what there is.

An epoch is a sequence of slots, numbered from 0. A step takes the next `global_batch_size` of them, and a rank its part of
those by arithmetic, so neither the number of ranks nor that of workers has a say. A slot names a unit (a clip, or an identity
where one pair per identity is wanted) and its turn: how often the unit came before, over all epochs.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from motionshards.transforms.extract.sample import splitmix64

I64 = NDArray[np.int64]

SHUFFLES = ("global", "shard", "none")
# Turns of a unit are mixed with those of so many others; they stay near each other, so that what one turn read is still in
# memory for the next.
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
    turn: int64, how many turns the unit had before, over all epochs
    """

    unit: I64
    turn: I64


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """The slots of every epoch.

    shard: int64 [U], the shard of each unit; what `shuffle="shard"` keeps together
    shuffle: `global`: any unit may follow any other. `shard`: shards in random order, units mixed within `window` of them, so
        that a reader needs only that many shards at a time. `none`: as they stand in the index
    repeats: turns of each unit in an epoch
    """

    shard: I64
    seed: int
    shuffle: str = "global"
    repeats: int = 1
    window: int = 8

    def __post_init__(self) -> None:
        if self.shuffle not in SHUFFLES:
            raise ValueError(f"shuffle is {self.shuffle!r}, must be one of {', '.join(SHUFFLES)}")
        if self.repeats < 1 or self.window < 1:
            raise ValueError("repeats and window must be at least 1")

    def __len__(self) -> int:
        return len(self.shard) * self.repeats

    def slots(self, epoch: int, numbers: I64) -> Slots:
        """The slots of these numbers, each in [0, len)."""
        units = _sequence(self, epoch)
        if self.repeats == 1:
            return Slots(units[numbers], np.full(len(numbers), epoch, np.int64))
        place, repeat = self._mixed(epoch, numbers)
        return Slots(units[place], epoch * self.repeats + repeat)

    def near(self, epoch: int, numbers: I64, count: int) -> I64:
        """For each slot `count` others that can stand in for it, int64 [len(numbers),count]: anywhere, or in the same window."""
        low, high = self._bounds(epoch, numbers // self.repeats)
        drawn = hashed(self.seed, epoch, numbers[:, None], np.arange(count))
        return (low * self.repeats)[:, None] + (drawn % ((high - low) * self.repeats).astype(np.uint64)[:, None]).astype(np.int64)

    def shards(self, epoch: int, window: int) -> I64:
        """The shards of a window of `shuffle="shard"`; empty behind the last."""
        ranked = _ranked_shards(self, epoch)
        return ranked[window * self.window : (window + 1) * self.window]

    def window_of(self, epoch: int, number: int) -> int:
        """The window in which a slot lies; 0 where the whole epoch is one."""
        return int(np.searchsorted(_window_ends(self, epoch), number // self.repeats, side="right"))

    def _bounds(self, epoch: int, places: I64) -> tuple[I64, I64]:
        """Where the window of each place in the sequence of units begins and ends in it."""
        ends = _window_ends(self, epoch)
        window = np.searchsorted(ends, places, side="right")
        return np.concatenate([[0], ends[:-1]])[window], ends[window]

    def _mixed(self, epoch: int, numbers: I64) -> tuple[I64, I64]:
        """Place of the unit in the epoch's sequence of units, and which of its turns in this epoch it is."""
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
    """The units of an epoch in their order, int64 [U]. Equal hashes, which hardly occur, stay in the order of the index."""
    units = np.arange(len(order.shard), dtype=np.int64)
    if order.shuffle == "none":
        return units
    drawn = hashed(order.seed, epoch, units)
    if order.shuffle == "global":
        return np.argsort(drawn, kind="stable")
    return np.lexsort((drawn, _windows(order, epoch)))


@lru_cache(maxsize=4)
def _ranked_shards(order: Order, epoch: int) -> I64:
    """The shards that hold units, in the order of the epoch."""
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
    """Where the windows end in the sequence of units. The whole epoch is one window where shards do not matter."""
    if order.shuffle != "shard":
        return np.array([len(order.shard)], np.int64)
    return np.cumsum(np.bincount(_windows(order, epoch)))


@lru_cache(maxsize=8)
def _block(order: Order, epoch: int, start: int, units: int) -> I64:
    """The slots of a block of units in mixed order, as numbers within the block that would stand unit by unit."""
    return np.argsort(hashed(order.seed, epoch, -1, start, np.arange(units * order.repeats)), kind="stable")
