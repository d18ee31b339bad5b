"""Reconstruction of a clip from its first frame (section 4 of the paper), with absolute keypoints of the other frames.

Frames are those stored in the dataset, a sample of the video, whereas the authors use every frame.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from motionshards.dataset.index import Sample
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.evaluation.reconstruction import Choice, ReconstructFrames, as_images
from motionshards.trainers.fomm.animate import Networks
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.restore import restore


class FommReconstructor:
    """Reconstructs every later frame from the first. See Reconstructor."""

    name = "fomm"

    def __init__(self, networks: Networks, size_px: int, device: torch.device | str = "cpu") -> None:
        self._networks, self.size_px, self._device = networks, size_px, device

    @classmethod
    def restored(
        cls, checkpoint: Path, config: str | None, device: torch.device, align_corners: bool | None = None
    ) -> "FommReconstructor":
        """Load a checkpoint. Raises ConfigError: it cannot be used."""
        settings, detector, generator = restore(checkpoint, config, align_corners=align_corners)
        shape = settings.architecture
        if shape.channels != 3:
            raise ConfigError(f"{checkpoint} is for images with {shape.channels} channels, and datasets have 3")
        return cls(FoldedNetworks(detector, generator, device), shape.size, device)

    def choose(self, sample: Sample) -> Choice | str:
        """See Reconstructor."""
        return Choice((0,), tuple(range(1, len(sample.frames))))

    def prepare(self, sample: Sample, given: Sequence[int]) -> ReconstructFrames:
        """See Reconstructor."""
        source = as_images(sample.frames[[*given]], self._device)
        keypoints = self._networks.kp_detector(source)

        def reconstruct(targets: Sequence[int]) -> Tensor:
            driving = self._networks.kp_detector(as_images(sample.frames[[*targets]], self._device))
            return self._networks.generator(source, keypoints, driving)

        return reconstruct
