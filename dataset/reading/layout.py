"""Layout of named arrays in one block of memory that several processes share."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Arrays are aligned to cache lines; aligning to pages would not help page-locking.
_ALIGNED = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """The arrays of a block.

    arrays: (name, dtype as a string, shape) of each array
    bytes: size of the block
    """

    arrays: tuple[tuple[str, str, tuple[int, ...]], ...]
    bytes: int = field(init=False)
    _offsets: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        offsets = [0]
        for _, dtype, shape in self.arrays:
            offsets.append(offsets[-1] + -(-math.prod(shape) * np.dtype(dtype).itemsize // _ALIGNED) * _ALIGNED)
        object.__setattr__(self, "bytes", offsets[-1])
        object.__setattr__(self, "_offsets", tuple(offsets[:-1]))

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> "Layout":
        """The layout of a block for these arrays."""
        return cls(tuple((name, array.dtype.str, array.shape) for name, array in arrays.items()))

    def views(self, block: Any, offset: int = 0) -> dict[str, NDArray[Any]]:
        """The arrays as views into the buffer `block` from byte `offset`; writable if the buffer is."""
        return {
            name: np.ndarray(shape, dtype, block, offset + place)
            for (name, dtype, shape), place in zip(self.arrays, self._offsets, strict=True)
        }
