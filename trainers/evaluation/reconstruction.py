"""The interface of models in an evaluation: their input and target frames, and the reconstruction."""

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

ReconstructFrames = Callable[[Sequence[int]], Tensor]
"""Reconstructs frames of a clip by their numbers: float32 [B,3,H,W] in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Frames of a clip, by number.

    given: input frames of the model; the baseline copies the first
    targets: frames to reconstruct, in ascending order
    """

    given: tuple[int, ...]
    targets: tuple[int, ...]


class Reconstructor(Protocol):
    """A model that reconstructs frames of a clip from others.

    name: name of the model, as in `--model`
    size_px: side of its images, pixels
    """

    @property
    def name(self) -> str: ...

    @property
    def size_px(self) -> int: ...

    def choose(self, sample: Sample) -> Choice | str:
        """Choose the frames of a clip, or return why it is skipped. Depends on the clip only, so that runs are comparable."""

    def prepare(self, sample: Sample, given: Sequence[int]) -> ReconstructFrames:
        """Process the given frames of a clip, and return the function that reconstructs others."""


def as_images(frames: NDArray[np.uint8], device: torch.device | str) -> Tensor:
    """Convert uint8 [N,H,W,3] to float32 [N,3,H,W] in [0, 1] on the device."""
    return as_batch(frames, device).float() / 255


def as_batch(frames: NDArray[np.generic], device: torch.device | str) -> Tensor:
    """Convert [N,H,W,3] of any type to [N,3,H,W] on the device."""
    return torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2)
