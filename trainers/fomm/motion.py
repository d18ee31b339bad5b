"""The dense motion network, which combines the motions of keypoints to a dense flow (section 3.1 of the paper).

Shape suffixes: B images, K keypoints, S = K + 1 motions (first the identity, for the background),
C channels, H and W height and width of the flow.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motionshards.trainers.fomm.architecture import Architecture
from motionshards.trainers.fomm.blocks import Hourglass, coordinate_grid, gaussian, reduction, warp
from motionshards.trainers.fomm.keypoints import Keypoints, inverse_2x2, product_2x2
from motionshards.trainers.precision import at_least_float32

_KERNEL = 7


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """The dense motion from the driving image to the source, at the scale of the dense motion network."""

    flow: Tensor
    """[B,H,W,2], coordinates (x, y) in the source of each pixel of the driving image."""
    mask: Tensor
    """[B,S,H,W], weights of the motions in the flow; they sum to 1."""
    occlusion: Tensor | None
    """[B,1,H,W], 0 (occluded in the source) to 1 (visible); None if not estimated."""
    sparse_deformed: Tensor
    """[B,S,C,H,W], the downsampled source warped by each motion."""


class DenseMotion(nn.Module):
    """Predicts the flow from the source warped by the motion of each keypoint, and from heatmaps of the keypoints."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        motion, motions = config.dense_motion, config.keypoints + 1
        self.variance, self.align_corners = motion.variance, config.align_corners
        inside = motions * (config.channels + 1)
        self.hourglass = Hourglass(inside, motion.block_expansion, motion.max_features, motion.blocks)
        self.mask = nn.Conv2d(self.hourglass.width, motions, _KERNEL, padding=_KERNEL // 2)
        self.occlusion: nn.Conv2d | None = None
        if config.generator.occlusion:
            self.occlusion = nn.Conv2d(self.hourglass.width, 1, _KERNEL, padding=_KERNEL // 2)
        self.down = reduction(config.channels, motion.scale)

    def forward(self, source: Tensor, *, source_keypoints: Keypoints, driving_keypoints: Keypoints) -> Motion:
        """Predict the motion of sources [B,C,height,width] in [0, 1]."""
        reduced = self.down(source)
        size = (reduced.shape[2], reduced.shape[3])
        motions_bshw2 = sparse_motions(source_keypoints, driving_keypoints, size)
        deformed_bschw = self._deformed(reduced, motions_bshw2)
        heat_bshw = heat_difference(source_keypoints, driving_keypoints, size, self.variance)
        inputs = torch.cat([heat_bshw[:, :, None].to(deformed_bschw.dtype), deformed_bschw], dim=2).flatten(1, 2)
        features = self.hourglass(inputs)
        mask = at_least_float32(self.mask(features)).softmax(dim=1)
        return Motion(
            flow=(mask[..., None] * motions_bshw2).sum(dim=1),
            mask=mask,
            occlusion=None if self.occlusion is None else at_least_float32(self.occlusion(features)).sigmoid(),
            sparse_deformed=deformed_bschw,
        )

    def _deformed(self, reduced: Tensor, motions: Tensor) -> Tensor:
        """Warp images by their motions: [B,S,C,H,W]. The motions are stacked to one tall flow, so that images are not copied."""
        sampled = warp(reduced, motions.flatten(1, 2), align_corners=self.align_corners)
        return sampled.view(*reduced.shape[:2], *motions.shape[1:4]).transpose(1, 2)


def sparse_motions(source: Keypoints, driving: Keypoints, size: tuple[int, int]) -> Tensor:
    """Return J_s J_d^-1 (z - d_k) + s_k for pixels z of the driving image and keypoints k: [B,S,H,W,2] (section 3.1).

    The first motion is z. Without Jacobians the others are z - d_k + s_k.
    """
    grid = coordinate_grid(size, driving.value)
    moved = grid - driving.value[:, :, None, None]
    if source.jacobian is not None and driving.jacobian is not None:
        affine = product_2x2(source.jacobian, inverse_2x2(driving.jacobian))[:, :, None, None]
        moved = affine[..., 0] * moved[..., :1] + affine[..., 1] * moved[..., 1:]
    motions = moved + source.value[:, :, None, None]
    return torch.cat([grid.expand(len(motions), 1, -1, -1, -1), motions], dim=1)


def heat_difference(source: Keypoints, driving: Keypoints, size: tuple[int, int], variance: float) -> Tensor:
    """Return Gaussians at driving keypoints minus those at source keypoints, after zeros: [B,S,H,W] (section 3.1)."""
    heat = gaussian(driving.value, size, variance) - gaussian(source.value, size, variance)
    return torch.cat([torch.zeros_like(heat[:, :1]), heat], dim=1)
