"""From the motions near keypoints to one flow for the whole picture (section 3.1 of the paper).

Shape suffixes: B pictures, K keypoints, S = K + 1 motions (that of the background, which stands still, first),
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
    """Where each pixel of the driving picture is found in the source, at the scale of the dense motion network."""

    flow: Tensor
    """[B,H,W,2], (x, y) in the source."""
    mask: Tensor
    """[B,S,H,W], the share of each motion in the flow; shares add up to 1."""
    occlusion: Tensor | None
    """[B,1,H,W], 0 (to be painted anew) to 1 (seen in the source); None: not estimated."""
    sparse_deformed: Tensor
    """[B,S,C,H,W], the reduced source moved by each motion."""


class DenseMotion(nn.Module):
    """Predicts the flow from the source, moved as each keypoint says, and from where the keypoints are."""

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
        """Of sources [B,C,height,width] in [0, 1]."""
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
        """[B,S,C,H,W]. All motions of a picture are one tall flow, so that the picture is not copied for each."""
        sampled = warp(reduced, motions.flatten(1, 2), align_corners=self.align_corners)
        return sampled.view(*reduced.shape[:2], *motions.shape[1:4]).transpose(1, 2)


def sparse_motions(source: Keypoints, driving: Keypoints, size: tuple[int, int]) -> Tensor:
    """[B,S,H,W,2], for pixel z of the driving picture and keypoint k: J_s J_d^-1 (z - d_k) + s_k (section 3.1).

    The first motion is z itself. Without jacobians z - d_k is only shifted.
    """
    grid = coordinate_grid(size, driving.value)
    moved = grid - driving.value[:, :, None, None]
    if source.jacobian is not None and driving.jacobian is not None:
        affine = product_2x2(source.jacobian, inverse_2x2(driving.jacobian))[:, :, None, None]
        moved = affine[..., 0] * moved[..., :1] + affine[..., 1] * moved[..., 1:]
    motions = moved + source.value[:, :, None, None]
    return torch.cat([grid.expand(len(motions), 1, -1, -1, -1), motions], dim=1)


def heat_difference(source: Keypoints, driving: Keypoints, size: tuple[int, int], variance: float) -> Tensor:
    """[B,S,H,W], Gaussians at the driving keypoints less those at the source's (section 3.1); zeros come first."""
    heat = gaussian(driving.value, size, variance) - gaussian(source.value, size, variance)
    return torch.cat([torch.zeros_like(heat[:, :1]), heat], dim=1)
