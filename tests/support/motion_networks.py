"""Narrow networks of FOMM for images in which dlib finds faces, and their checkpoints."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from motionshards.trainers.fomm.architecture import Architecture
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import KPDetector

SIZE = 160


def architecture(**changes: Any) -> Architecture:
    """Narrow networks for images of 160 px, in which dlib finds faces."""
    narrow = {"block_expansion": 4, "max_features": 16}
    usual = Architecture()
    narrow_architecture = Architecture(
        size=SIZE,
        keypoints=4,
        detector=replace(usual.detector, blocks=2, **narrow),
        dense_motion=replace(usual.dense_motion, blocks=2, **narrow),
        generator=replace(usual.generator, bottleneck_blocks=1, **narrow),
    )
    return replace(narrow_architecture, **changes)


@functools.cache
def networks(shape: Architecture) -> dict[str, torch.nn.Module]:
    """Seeded; the norms have the statistics of an image, so that features neither vanish nor explode."""
    torch.manual_seed(3)
    detector, generator = KPDetector(shape), OcclusionAwareGenerator(shape)
    with torch.no_grad():
        generator.final.weight.mul_(8)
        detector.kp.weight.mul_(30)  # otherwise keypoints hardly move
        for _ in range(20):
            found = detector(torch.rand(2, 3, 20, 20).repeat_interleave(SIZE // 20, 2).repeat_interleave(SIZE // 20, 3))
            generator(torch.rand(2, 3, SIZE, SIZE), source_keypoints=found, driving_keypoints=found)
    return {"kp_detector": detector.eval(), "generator": generator.eval()}


def save(path: Path, shape: Architecture, ours: dict[str, Any] | None) -> Path:
    content: dict[str, Any] = {name: network.state_dict() for name, network in networks(shape).items()}
    torch.save({**content, "epoch": 3} | ({} if ours is None else {"motionshards": ours}), path)
    return path
