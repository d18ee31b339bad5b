"""The ring of batches in shared memory, whose places are used again and again."""

import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.reading.layout import Layout
from motionshards.dataset.reading.shared_memory import Shared


class Ring:
    """Places for batches. One is free again when all arrays that were given out of it are gone.

    Nobody can then see a batch change under him, as happens where buffers are simply used again.
    """

    def __init__(self, layout: Layout, places: int) -> None:
        self.layout = layout
        self.places = places
        self.memory = Shared.of_size(layout.bytes * places)
        self._free = deque(range(places))
        self._base = np.frombuffer(self.memory.block, np.uint8)

    @property
    def address(self) -> int:
        """Where the memory begins in this process."""
        return int(self._base.ctypes.data)

    @property
    def bytes(self) -> int:
        """Size of the memory."""
        return self._base.nbytes

    @property
    def free(self) -> int:
        """How many places nobody has."""
        return len(self._free)

    def claim(self) -> int:
        """A free place. Raises IndexError: there is none."""
        return self._free.popleft()

    def release(self, place: int) -> None:
        """Give back a place that was not lent."""
        self._free.append(place)

    def lend(self, place: int) -> dict[str, NDArray[Any]]:
        """The arrays of a place, which is free again when the last of them, and of the tensors made of them, is gone."""
        start = place * self.layout.bytes
        lease = _Lease(self._base[start : start + self.layout.bytes])
        weakref.finalize(lease, self._free.append, place).atexit = False
        return self.layout.views(np.asarray(lease))

    def copied(self, place: int) -> dict[str, NDArray[Any]]:
        """Copies of the arrays of a place, which is then free."""
        arrays = {name: view.copy() for name, view in self.layout.views(self.memory.block, place * self.layout.bytes).items()}
        self.release(place)
        return arrays


class _Lease:
    """What numpy takes for the owner of some memory: its end is the end of all arrays upon it."""

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self._memory = memory
        self.__array_interface__ = memory.__array_interface__
