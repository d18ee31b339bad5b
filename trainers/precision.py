"""Exemptions from autocast, for computations that need at least float32; float64 is kept."""

from collections.abc import Callable

import torch
from torch import Tensor


def unrounded(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return function(x), computed in float32 or finer, also under autocast.

    Autocast is disabled only if it is enabled, so that exported graphs contain no trace of it.
    """
    if not torch.is_autocast_enabled(x.device.type):
        return function(x)
    with torch.autocast(x.device.type, enabled=False):
        return function(at_least_float32(x))


def at_least_float32(x: Tensor) -> Tensor:
    """Convert coarser types to float32; float32 and float64 are returned unchanged."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
