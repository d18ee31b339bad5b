"""The embedder: represents the person in a frame independently of pose and expression (section 3.1 of the paper)."""

import torch
from torch import Tensor

from motionshards.trainers.talking_heads.architecture import Architecture
from motionshards.trainers.talking_heads.blocks import DownsamplingNetwork, max_pooled

_FRAME_AND_LANDMARKS = 6


class Embedder(DownsamplingNetwork):
    """Maps frames with their landmark images to vectors."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(_FRAME_AND_LANDMARKS, architecture)

    def forward(self, frames: Tensor, landmarks: Tensor) -> Tensor:
        """Return embeddings [B,embedding], nonnegative, of frames and landmark images, both [B,3,H,W]."""
        return max_pooled(self.levels(torch.cat([frames, landmarks], dim=1))[-1])


def averaged(embeddings: Tensor, faces: Tensor) -> Tensor:
    """Average embeddings [B,K,C] over the frames with a face, bool [B,K], or over all if none has one: [B,C]."""
    counted = torch.where(faces.any(dim=1, keepdim=True), faces, True).to(embeddings.dtype)
    return (embeddings * counted[..., None]).sum(dim=1) / counted.sum(dim=1, keepdim=True)
