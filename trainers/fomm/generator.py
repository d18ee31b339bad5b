"""The generator, which renders the source in the pose of the driving image (section 3.2 of the paper).

Shape suffixes: B images, C channels, F features, h and w the size of the features.
"""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from motionshards.trainers.fomm.architecture import Architecture
from motionshards.trainers.fomm.blocks import DownBlock, ResBlock, SameBlock, UpBlock, resized, warp
from motionshards.trainers.fomm.keypoints import Keypoints
from motionshards.trainers.fomm.motion import DenseMotion, Motion
from motionshards.trainers.precision import at_least_float32

_KERNEL = 7


@dataclass(frozen=True, kw_only=True, eq=False)
class Generated:
    """Output of the generator."""

    prediction: Tensor
    """[B,C,height,width] in [0, 1], float32 or float64."""
    motion: Motion
    align_corners: bool

    def deformed(self, source: Tensor) -> Tensor:
        """Return the source [B,C,height,width] warped by the flow, for display; it is not part of the prediction."""
        return deform(source, self.motion.flow, align_corners=self.align_corners)


class OcclusionAwareGenerator(nn.Module):
    """Warps features of the source by the flow, masks occluded ones, and decodes the image."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        generator = config.generator
        widths = [min(generator.max_features, generator.block_expansion * 2**i) for i in range(generator.down_blocks + 1)]
        self.align_corners = config.align_corners
        self.dense_motion_network = DenseMotion(config)
        self.first = SameBlock(config.channels, widths[0], _KERNEL)
        self.down_blocks = nn.ModuleList(DownBlock(*pair) for pair in pairwise(widths))
        self.up_blocks = nn.ModuleList(UpBlock(*pair) for pair in pairwise(reversed(widths)))
        self.bottleneck = nn.Sequential()
        for i in range(generator.bottleneck_blocks):
            self.bottleneck.add_module(f"r{i}", ResBlock(widths[-1]))
        self.final = nn.Conv2d(widths[0], config.channels, _KERNEL, padding=_KERNEL // 2)

    def forward(self, source: Tensor, *, source_keypoints: Keypoints, driving_keypoints: Keypoints) -> Generated:
        """Animate sources [B,C,height,width] in [0, 1]."""
        motion = self.dense_motion_network(source, source_keypoints=source_keypoints, driving_keypoints=driving_keypoints)
        prediction = self.decode(self.encode(source), motion)
        return Generated(prediction=prediction, motion=motion, align_corners=self.align_corners)

    def encode(self, source: Tensor) -> Tensor:
        """Compute features [B,F,h,w] of sources [B,C,height,width], once for all frames animated from one image."""
        features: Tensor = self.first(source)
        for block in self.down_blocks:
            features = block(features)
        return features

    def decode(self, features: Tensor, motion: Motion) -> Tensor:
        """Decode the image [B,C,height,width] from features [B,F,h,w] after warping them by `motion`."""
        moved = deform(features, motion.flow, align_corners=self.align_corners)
        if motion.occlusion is not None:
            moved = moved * resized(motion.occlusion, (moved.shape[2], moved.shape[3])).to(moved.dtype)
        painted = self.bottleneck(moved)
        for block in self.up_blocks:
            painted = block(painted)
        return at_least_float32(self.final(painted)).sigmoid()


def deform(frames: Tensor, flow: Tensor, *, align_corners: bool) -> Tensor:
    """Warp `frames` [B,C,height,width] by `flow` [B,H,W,2], which is resized to their size."""
    planes = resized(flow.permute(0, 3, 1, 2), (frames.shape[2], frames.shape[3]))
    return warp(frames, planes.permute(0, 2, 3, 1), align_corners=align_corners)
