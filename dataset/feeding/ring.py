"""A ring buffer of batches in shared memory."""

import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.reading.layout import Layout
from motionshards.dataset.reading.shared_memory import SharedMemory


class Ring:
    """Places for batches. A place becomes free when all arrays lent from it have been garbage-collected.

    So a batch never changes while somebody holds it, unlike with buffers that are reused in turn.
    """

    def __init__(self, layout: Layout, places: int) -> None:
        self.layout = layout
        self.places = places
        self.memory = SharedMemory.of_size(layout.bytes * places)
        self._free = deque(range(places))
        self._base = np.frombuffer(self.memory.block, np.uint8)

    @property
    def address(self) -> int:
        """Address of the memory in this process."""
        return int(self._base.ctypes.data)

    @property
    def bytes(self) -> int:
        """Size of the memory in bytes."""
        return self._base.nbytes

    @property
    def free(self) -> int:
        """Number of free places."""
        return len(self._free)

    def claim(self) -> int:
        """Take a free place. Raises IndexError: there is none."""
        return self._free.popleft()

    def release(self, place: int) -> None:
        """Return a place that was not lent."""
        self._free.append(place)

    def lend(self, place: int) -> dict[str, NDArray[Any]]:
        """The arrays of a place, which becomes free when all of them, and all tensors that share their memory, are gone."""
        start = place * self.layout.bytes
        lease = _Lease(self._base[start : start + self.layout.bytes])
        weakref.finalize(lease, self._free.append, place).atexit = False
        return self.layout.views(np.asarray(lease))

    def copied(self, place: int) -> dict[str, NDArray[Any]]:
        """Copies of the arrays of a place, which becomes free at once."""
        arrays = {name: view.copy() for name, view in self.layout.views(self.memory.block, place * self.layout.bytes).items()}
        self.release(place)
        return arrays


class _Lease:
    """Owner of a place's memory for numpy: it is finalized when no array refers to the memory any more."""

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self._memory = memory
        self.__array_interface__ = memory.__array_interface__
