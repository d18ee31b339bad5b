"""Reconstruction of a clip from one frame, which is edited to show the action units of the others.

GANimation changes expressions only, so differences in pose and background between frames remain.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motionshards.dataset.index import Sample
from motionshards.schemas.action_units import MOST
from motionshards.trainers.evaluation.reconstruction import NO_ACTION_UNITS, Choice, ReconstructFrames, as_images
from motionshards.trainers.ganimation.images import as_image
from motionshards.trainers.ganimation.networks import Generator
from motionshards.trainers.ganimation.restore import restore


class GanimationReconstructor:
    """Reconstructs all frames with valid action units from the first one. Sets the network to evaluation mode."""

    name = "ganimation"

    def __init__(self, generator: Generator, size_px: int, device: torch.device | str = "cpu") -> None:
        self._generator, self.size_px, self._device = generator.to(device).eval(), size_px, device

    @classmethod
    def restored(cls, checkpoint: Path, config: str | None, device: torch.device, aus: str) -> "GanimationReconstructor":
        """Load a checkpoint.

        aus: origin of the dataset's action units, as in `--aus`

        Raises:
            ConfigError: the checkpoint cannot be used, or was trained on action units of another origin
        """
        settings, generator = restore(checkpoint, config, aus)
        return cls(generator, settings.architecture.size, device)

    def choose(self, sample: Sample) -> Choice | str:
        """See Reconstructor."""
        if sample.aus is None:
            return NO_ACTION_UNITS
        valid = np.flatnonzero(np.isfinite(sample.aus).all(axis=1)).tolist()
        return Choice((valid[0],), tuple(valid[1:])) if len(valid) > 1 else "fewer than 2 frames with valid action units"

    def prepare(self, sample: Sample, given: Sequence[int]) -> ReconstructFrames:
        """See Reconstructor."""
        source = 2 * as_images(sample.frames[[*given]], self._device) - 1

        def reconstruct(targets: Sequence[int]) -> Tensor:
            assert sample.aus is not None
            images = source.expand(len(targets), -1, -1, -1)
            expected = torch.from_numpy(sample.aus[[*targets]]).to(self._device) / MOST
            return as_image(self._generator(images, expected).over(images))

        return reconstruct
