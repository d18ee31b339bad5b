"""Where numbers must not be rounded as autocast rounds them: float32 is the least there, and float64 stays what it is."""

from collections.abc import Callable

import torch
from torch import Tensor


def unrounded(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x) in float32 or finer, also under autocast.

    Autocast is only switched off where it is on: a graph for export then holds no trace of it.
    """
    if not torch.is_autocast_enabled(x.device.type):
        return function(x)
    with torch.autocast(x.device.type, enabled=False):
        return function(at_least_float32(x))


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, as float32 where it is coarser."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
