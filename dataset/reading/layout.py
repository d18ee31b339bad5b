"""Named arrays side by side in one block of memory, so that several processes can share them."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rows of a batch begin where a cache line does; a page would serve pinning no better.
_ALIGNED = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """Which arrays a block holds: name, dtype as text, shape.

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
        """The layout of a block that can hold these arrays."""
        return cls(tuple((name, array.dtype.str, array.shape) for name, array in arrays.items()))

    def views(self, block: Any, offset: int = 0) -> dict[str, NDArray[Any]]:
        """The arrays as views into `block`, a buffer, from byte `offset`; they can be written where it can."""
        return {
            name: np.ndarray(shape, dtype, block, offset + place)
            for (name, dtype, shape), place in zip(self.arrays, self._offsets, strict=True)
        }
