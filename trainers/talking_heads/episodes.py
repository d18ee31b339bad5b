"""The input of a training step: K frames of each video, a target frame, and their landmark images."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from motionshards.dataset.reading.batch import Batch
from motionshards.transforms.augment.drawing import SEED_WIDTH_PX, landmark_images

_SEED_SIZE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """B target images. Can be sliced by rows."""

    frames: Tensor
    """float32 [B,3,H,W] in [0, 1]."""
    landmarks: Tensor
    """Landmark images of the frames, same shape and range."""
    video: Tensor
    """int64 [B], numbers of the videos in the discriminator."""
    counts: Tensor
    """float32 [B], weights of the losses: 0 without a face, whose landmark image would be white, else 1."""

    def __getitem__(self, rows: slice | Tensor) -> "Targets":
        return Targets(frames=self.frames[rows], landmarks=self.landmarks[rows], video=self.video[rows], counts=self.counts[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class Episodes:
    """Few-shot problems of B videos. Can be sliced by rows."""

    frames: Tensor
    """float32 [B,K,3,H,W] in [0, 1], input of the embedder."""
    landmarks: Tensor
    """Landmark images of the frames, same shape and range."""
    faces: Tensor
    """bool [B,K], whether a frame has landmarks."""
    targets: Targets

    def __getitem__(self, rows: slice) -> "Episodes":
        return Episodes(
            frames=self.frames[rows], landmarks=self.landmarks[rows], faces=self.faces[rows], targets=self.targets[rows]
        )


def episodes(batch: Batch, numbers: Mapping[str, int]) -> Episodes:
    """Convert a batch of K + 1 frames, whose last frames are the targets, on its device.

    numbers: number of each video by name
    """
    assert batch.landmarks is not None
    known = batch.landmarks.isfinite().flatten(2).all(dim=2)
    drawn = draw(batch.landmarks.flatten(0, 1), batch.frames.shape[-1]).view_as(batch.frames)
    video = torch.tensor([numbers[video_of(key)] for key in batch.keys], device=batch.frames.device)
    targets = Targets(
        frames=batch.frames[:, -1],
        landmarks=drawn[:, -1],
        video=video,
        counts=(known[:, -1] & known[:, :-1].any(dim=1)).float(),
    )
    return Episodes(frames=batch.frames[:, :-1], landmarks=drawn[:, :-1], faces=known[:, :-1], targets=targets)


def draw(points_px: Tensor, size_px: int) -> Tensor:
    """Draw landmark images [B,3,size,size] of points [B,68,2]; the line width scales with the size as published."""
    return landmark_images(points_px, size_px, SEED_WIDTH_PX * size_px / _SEED_SIZE)


def video_of(key: str) -> str:
    """Return identity/video of a clip's key identity/video/clip; utterances of a video share it."""
    return key.rpartition("/")[0]
