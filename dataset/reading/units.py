"""The units of an epoch: clips, or identities of which one clip is drawn per epoch."""

from dataclasses import dataclass

import numpy as np

from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.order import I64, Order, Slots, hashed
from motionshards.dataset.reading.view import View
from motionshards.schemas.errors import ConfigError


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """U groups of clips; each turn of a unit takes the next clip of its group.

    clips: int64 [C], group after group
    first: int64 [U+1], starts of the groups in `clips`
    """

    clips: I64
    first: I64

    @classmethod
    def of(cls, catalog: Catalog, seed: int, per_identity: bool) -> "Units":
        """One unit per clip, or per identity, with its clips in random order."""
        clips = np.arange(len(catalog), dtype=np.int64)
        if not per_identity:
            return cls(clips, np.arange(len(catalog) + 1, dtype=np.int64))
        identity = catalog.arrays["identity"]
        clips = np.lexsort((hashed(seed, catalog.arrays["row"], -4), identity))
        starts = np.flatnonzero(np.diff(identity[clips], prepend=-1))
        return cls(clips, np.append(starts, len(clips)))

    def order(self, catalog: Catalog, view: View, seed: int, shuffle: str, repeats: int, window: int) -> Order:
        """The order of these units, each located in the shard of its first clip. Raises ConfigError."""
        if view.per_identity and shuffle == "shard":
            raise ConfigError(
                "views with one clip per identity need shuffle='global' or 'none': an identity's clips are in many shards"
            )
        try:
            return Order(catalog.arrays["shard"][self.clips[self.first[:-1]]], seed, shuffle, repeats, window)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def __len__(self) -> int:
        return len(self.first) - 1

    def clip(self, slots: Slots) -> I64:
        """The clip number of each slot, int64."""
        start = self.first[slots.unit]
        return self.clips[start + slots.turn % (self.first[slots.unit + 1] - start)]
