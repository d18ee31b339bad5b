"""Named arrays side by side in one block of memory, so that several processes can share them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rows of a batch begin where a cache line does; a page would serve pinning no better.
_ALIGNED = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """Which arrays a block holds: name, dtype as text, shape."""

    arrays: tuple[tuple[str, str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> "Layout":
        """The layout of a block that can hold these arrays."""
        return cls(tuple((name, array.dtype.str, array.shape) for name, array in arrays.items()))

    @property
    def bytes(self) -> int:
        """Size of the block."""
        return sum(_room(dtype, shape) for _, dtype, shape in self.arrays)

    def views(self, block: Any, offset: int = 0) -> dict[str, NDArray[Any]]:
        """The arrays as views into `block`, a buffer, from byte `offset`; they can be written where it can."""
        views = {}
        for name, dtype, shape in self.arrays:
            count = int(np.prod(shape))
            views[name] = np.frombuffer(block, np.dtype(dtype), count, offset).reshape(shape)
            offset += _room(dtype, shape)
        return views


def _room(dtype: str, shape: tuple[int, ...]) -> int:
    return -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // _ALIGNED) * _ALIGNED
