"""Conversion and shape checks of the inputs of exported graphs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def as_array(value: Any, dtype: type) -> Array:
    """Return a contiguous array on the CPU. Tensors are recognized by their methods, so torch need not be installed."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.ascontiguousarray(value, dtype).reshape(np.shape(value))


def check_shape(name: str, expected: Sequence[int | str], found: tuple[int, ...]) -> None:
    """Raise ValueError if a shape is not that of the graph, in which a string is any size of at least 1."""
    if len(expected) != len(found) or any(b < 1 if isinstance(a, str) else a != b for a, b in zip(expected, found, strict=True)):
        raise ValueError(f"{name} is {list(found)}, must be {list(expected)}")
