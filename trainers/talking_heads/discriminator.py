"""The projection discriminator: rates whether a frame is real and matches landmarks and video (section 3.1 of the paper)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motionshards.trainers.talking_heads.architecture import Architecture
from motionshards.trainers.talking_heads.blocks import DEVIATION, DownsamplingNetwork, NormedResidual, max_pooled

_FRAME_AND_LANDMARKS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class DiscriminatorOutput:
    """Output of the discriminator for B images."""

    score: Tensor
    """[B], float32 or finer, higher for real images."""
    features: list[Tensor]
    """Output of each block, without ReLU."""


class Discriminator(DownsamplingNetwork):
    """Has a vector for each of `videos` videos, the columns of `W`."""

    def __init__(self, architecture: Architecture, videos: int) -> None:
        super().__init__(_FRAME_AND_LANDMARKS, architecture)
        length = architecture.embedding
        self.res_block = NormedResidual(length)
        self.W = nn.Parameter(DEVIATION * torch.randn(length, videos))
        self.w_0 = nn.Parameter(DEVIATION * torch.randn(length, 1))
        self.b = nn.Parameter(DEVIATION * torch.randn(1))
        self.compat = architecture.compat

    def forward(self, images: Tensor, landmarks: Tensor, video: Tensor) -> DiscriminatorOutput:
        """Rate images with landmark images, both [B,3,H,W], and the numbers of their videos, int64 [B]."""
        features = self.levels(torch.cat([images, landmarks], dim=1))
        features.append(self.res_block(features[-1]))
        score = (max_pooled(features[-1]) * (self.of_videos(video) + self.w_0.T)).sum(dim=1) + self.b
        return DiscriminatorOutput(score=score.sigmoid() if self.compat else score, features=features)

    def of_videos(self, video: Tensor) -> Tensor:
        """Return the vectors [B,embedding] of videos by their numbers."""
        return self.W.T[video]
