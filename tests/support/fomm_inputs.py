"""A narrow architecture of the first order motion model, and random input for it."""

from dataclasses import replace

import torch
from torch import Tensor

from motionshards.trainers.fomm.architecture import Architecture

# YAML settings of a model for images of 32 px that trains in seconds.
TINY = """
architecture:
  size: 32
  keypoints: 3
  detector: {block_expansion: 4, max_features: 8, blocks: 2}
  dense_motion: {block_expansion: 4, max_features: 8, blocks: 2}
  generator: {block_expansion: 4, max_features: 8, bottleneck_blocks: 1}
  discriminator: {block_expansion: 4, max_features: 8, blocks: 1}
"""


def small(**changes: object) -> Architecture:
    """Narrow networks for images of 64 px."""
    narrow = {"block_expansion": 8, "max_features": 32}
    usual = Architecture()
    architecture = Architecture(
        size=64,
        keypoints=3,
        detector=replace(usual.detector, blocks=2, **narrow),
        dense_motion=replace(usual.dense_motion, blocks=2, **narrow),
        generator=replace(usual.generator, bottleneck_blocks=1, **narrow),
        discriminator=replace(usual.discriminator, blocks=3, **narrow),
    )
    return replace(architecture, **changes)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """float64 in [0, 1]."""
    return torch.rand(*shape, generator=rng(seed), dtype=torch.float64)
