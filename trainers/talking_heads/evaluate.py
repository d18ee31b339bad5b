"""Reconstruction of a clip from K of its frames: the others are rendered from their landmarks (section 4 of the paper).

The networks are not fine-tuned to the person.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motionshards.dataset.index import Sample
from motionshards.trainers.evaluation.reconstruction import NO_LANDMARKS, Choice, ReconstructFrames, as_images
from motionshards.trainers.talking_heads.embedder import Embedder
from motionshards.trainers.talking_heads.episodes import draw
from motionshards.trainers.talking_heads.finetune import restore
from motionshards.trainers.talking_heads.generator import Generator


class TalkingHeadsReconstructor:
    """Reconstructs all other frames with landmarks from `k` evenly spaced ones. See Reconstructor.

    Sets the networks to evaluation mode.
    """

    name = "talking_heads"

    def __init__(
        self, embedder: Embedder, generator: Generator, size_px: int, k: int, device: torch.device | str = "cpu"
    ) -> None:
        self._embedder, self._generator = embedder.to(device).eval(), generator.to(device).eval()
        self.size_px, self._k, self._device = size_px, k, device

    @classmethod
    def restored(cls, checkpoint: Path, config: str | None, device: torch.device, k: int | None) -> "TalkingHeadsReconstructor":
        """Load a checkpoint. `k` defaults to that of its training. Raises ConfigError: the checkpoint cannot be used."""
        trained = restore(checkpoint, config, device)
        settings = trained.config
        return cls(trained.embedder, trained.generator, settings.architecture.size, k or settings.training.frames, device)

    def choose(self, sample: Sample) -> Choice | str:
        """See Reconstructor."""
        if sample.landmarks is None:
            return NO_LANDMARKS
        usable = np.flatnonzero(np.isfinite(sample.landmarks).all(axis=(1, 2)))
        if len(usable) <= self._k:
            return f"fewer than {self._k + 1} frames with landmarks"
        given = usable[np.arange(self._k) * len(usable) // self._k]
        return Choice(tuple(given.tolist()), tuple(np.setdiff1d(usable, given).tolist()))

    def prepare(self, sample: Sample, given: Sequence[int]) -> ReconstructFrames:
        """See Reconstructor."""
        frames = as_images(sample.frames[[*given]], self._device)
        embedding = self._embedder(frames, self._drawn(sample, given)).mean(dim=0, keepdim=True)
        style = self._generator.style(embedding)

        def reconstruct(targets: Sequence[int]) -> Tensor:
            return self._generator.render(self._drawn(sample, targets), style.expand(len(targets), -1))

        return reconstruct

    def _drawn(self, sample: Sample, numbers: Sequence[int]) -> Tensor:
        """Draw the landmark images [B,3,H,W] of some frames."""
        assert sample.landmarks is not None
        return draw(torch.from_numpy(sample.landmarks[[*numbers]]).to(self._device), self.size_px)
