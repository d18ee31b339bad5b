"""Reconstruction of a clip from its most frontal frame: eyes and mouth are morphed, then the head is turned, as in the target."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from motionshards.dataset.index import Sample
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.evaluation.reconstruction import NO_LANDMARKS, Choice, ReconstructFrames, as_images
from motionshards.trainers.face_rotator.color import to_frames, to_images
from motionshards.trainers.face_rotator.config import CONFIGS
from motionshards.trainers.face_rotator.pose import MAX_DEG, expression, rotation
from motionshards.trainers.face_rotator.restore import restore

_NEEDED = ("rotator", "combiner")
FRONTAL_DEG = CONFIGS["rotator"].training.frontal_deg
"""The published limit in training."""


class FaceRotatorReconstructor:
    """Reconstructs all frames within 15 degrees of the source. Sets the networks to evaluation mode. See Reconstructor.

    networks: rotator and combiner, and the morpher if eyes and mouth are to be morphed
    frontal_deg: largest yaw, pitch and roll of the source, degrees
    """

    name = "face_rotator"

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        size_px: int,
        frontal_deg: float = FRONTAL_DEG,
        device: torch.device | str = "cpu",
    ) -> None:
        self._networks = {name: network.to(device).eval() for name, network in networks.items()}
        self.size_px, self._frontal_deg, self._device = size_px, frontal_deg, device

    @classmethod
    def restored(cls, checkpoint: Path, frontal_deg: float, device: torch.device) -> "FaceRotatorReconstructor":
        """Load a checkpoint. Raises ConfigError: it cannot be used, or has no trained rotator or combiner."""
        found = restore([checkpoint])
        for name in _NEEDED:
            if name not in found.networks:
                raise ConfigError(f"{checkpoint} has no trained {name}; train it with jobs.train --config {name}")
        return cls(found.networks, found.architecture.size, frontal_deg, device)

    def choose(self, sample: Sample) -> Choice | str:
        """See Reconstructor."""
        if sample.landmarks is None:
            return NO_LANDMARKS
        pose = _pose_deg(sample)
        pose[~np.isfinite(sample.landmarks).all(axis=(1, 2))] = np.nan
        turned = np.abs(pose).max(axis=1)
        if not (turned <= self._frontal_deg).any():
            return f"no frame within {self._frontal_deg:g} degrees of frontal"
        source = int(np.nanargmin(turned))
        near = np.abs(pose - pose[source]).max(axis=1) <= MAX_DEG
        near[source] = False
        targets = tuple(np.flatnonzero(near).tolist())
        return Choice((source,), targets) if targets else f"no other frame within {MAX_DEG:g} degrees"

    def prepare(self, sample: Sample, given: Sequence[int]) -> ReconstructFrames:
        """See Reconstructor."""
        source = to_images(as_images(sample.frames[[*given]], self._device))
        pose = torch.from_numpy(_pose_deg(sample).astype(np.float32)).to(self._device)

        def reconstruct(targets: Sequence[int]) -> Tensor:
            assert sample.landmarks is not None
            images = source.expand(len(targets), -1, -1, -1)
            if "morpher" in self._networks:
                expected = expression(torch.from_numpy(sample.landmarks[[*targets]]).to(self._device))
                images = self._networks["morpher"](images, expected).image
            start = pose[[*given]].expand(len(targets), -1)
            change = rotation(torch.stack([start, pose[[*targets]]], dim=1))
            rotated = self._networks["rotator"](images, change)
            return to_frames(self._networks["combiner"](rotated.painted, rotated.moved, change).image)

        return reconstruct


def _pose_deg(sample: Sample) -> NDArray[np.float64]:
    """Return yaw, pitch and roll of each frame [N,3]; NaN without a pose."""
    return np.array([sample.meta[name] for name in ("yaw_deg", "pitch_deg", "roll_deg")], np.float64).T
