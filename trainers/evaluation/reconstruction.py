"""The interface of models that are evaluated: which frames of a clip they see, and which they reconstruct."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motionshards.dataset.index import Sample

NO_LANDMARKS = "no landmarks"
NO_ACTION_UNITS = "no action units"

Painter = Callable[[Sequence[int]], Tensor]
"""Reconstructs frames of a clip by their numbers: float32 [B,3,H,W] in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Frames of a clip, by number.

    given: those whose pixels the model sees; the baseline copies the first
    targets: those that it reconstructs, in ascending order
    """

    given: tuple[int, ...]
    targets: tuple[int, ...]


class Reconstructor(Protocol):
    """A model that reconstructs frames of a clip from others.

    name: of the model, as `--model` has it
    size_px: side of its images
    """

    @property
    def name(self) -> str: ...

    @property
    def size_px(self) -> int: ...

    def choose(self, sample: Sample) -> Choice | str:
        """The frames of a clip, or why there are none. Depends on the clip only, so that all runs have the same."""

    def begin(self, sample: Sample, given: Sequence[int]) -> Painter:
        """See the given frames of a clip."""


def as_images(frames: NDArray[np.uint8], device: torch.device | str) -> Tensor:
    """uint8 [N,H,W,3] as float32 [N,3,H,W] in [0, 1] on the device."""
    return as_batch(frames, device).float() / 255


def as_batch(frames: NDArray[np.generic], device: torch.device | str) -> Tensor:
    """[N,H,W,3] of any type as [N,3,H,W] on the device."""
    return torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2)
