"""What a training step works on: K frames of each video, one more that is painted, and their landmark images."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from motionshards.dataset.reading.batch import Batch
from motionshards.transforms.augment.drawing import SEED_WIDTH_PX, landmark_images

_SEED_SIZE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Goals:
    """Pictures that are to be painted. `goals[a:b]` are some of them."""

    frames: Tensor
    """float32 [B,3,H,W] in [0, 1]."""
    landmarks: Tensor
    """Their landmark images, as `frames`."""
    video: Tensor
    """int64 [B], numbers of their videos, as the discriminator knows them."""
    counts: Tensor
    """float32 [B], 1 where losses count; 0 where there is no face, so that a white picture would have to become one."""

    def __getitem__(self, rows: slice | Tensor) -> "Goals":
        return Goals(frames=self.frames[rows], landmarks=self.landmarks[rows], video=self.video[rows], counts=self.counts[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class Episodes:
    """A few-shot problem for each of B videos. `episodes[a:b]` are some of them."""

    frames: Tensor
    """float32 [B,K,3,H,W] in [0, 1], what the embedder sees."""
    landmarks: Tensor
    """Their landmark images, as `frames`."""
    faces: Tensor
    """bool [B,K]: all landmarks are known."""
    goals: Goals

    def __getitem__(self, rows: slice) -> "Episodes":
        return Episodes(frames=self.frames[rows], landmarks=self.landmarks[rows], faces=self.faces[rows], goals=self.goals[rows])


def episodes(batch: Batch, numbers: Mapping[str, int]) -> Episodes:
    """The problems of a batch of K + 1 frames, the last of which are painted; on its device.

    numbers: of the videos, by name
    """
    assert batch.landmarks is not None
    known = batch.landmarks.isfinite().flatten(2).all(dim=2)
    drawn = draw(batch.landmarks.flatten(0, 1), batch.frames.shape[-1]).view_as(batch.frames)
    video = torch.tensor([numbers[video_of(key)] for key in batch.keys], device=batch.frames.device)
    goals = Goals(
        frames=batch.frames[:, -1],
        landmarks=drawn[:, -1],
        video=video,
        counts=(known[:, -1] & known[:, :-1].any(dim=1)).float(),
    )
    return Episodes(frames=batch.frames[:, :-1], landmarks=drawn[:, :-1], faces=known[:, :-1], goals=goals)


def draw(points_px: Tensor, size_px: int) -> Tensor:
    """Landmark images [B,3,size,size] of points [B,68,2]; lines are as wide for the picture as the published ones."""
    return landmark_images(points_px, size_px, SEED_WIDTH_PX * size_px / _SEED_SIZE)


def video_of(key: str) -> str:
    """The video of a clip by its key, identity/video/clip: its utterances share it, and with `--unit video` it is one clip."""
    return key.rpartition("/")[0]
