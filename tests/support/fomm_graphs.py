"""Narrow networks of the first order motion model, and inputs for the graphs exported from them."""

import torch
from conformance import fill
from fomm_inputs import noise, small
from torch import Tensor

from motionshards.trainers.fomm.architecture import Architecture
from motionshards.trainers.fomm.config import Config
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import Keypoints, KPDetector

CONFIG = Config(architecture=small())


def networks(architecture: Architecture) -> tuple[KPDetector, OcclusionAwareGenerator]:
    built = KPDetector(architecture), OcclusionAwareGenerator(architecture)
    fill(built[0], "detector"), fill(built[1], "generator")
    return built[0].eval(), built[1].eval()


def keypoints(count: int, seed: int) -> Keypoints:
    """float32 keypoints spread over the image more widely than an untrained detector places them."""
    jacobian = torch.eye(2) + 0.4 * (noise(count, 3, 2, 2, seed=seed + 1) - 0.5)
    return Keypoints(value=(2 * noise(count, 3, 2, seed=seed) - 1).float(), jacobian=jacobian.float())


def rows(*some: Keypoints) -> list[Tensor]:
    return [tensor for each in some for tensor in (each.value, each.jacobian) if tensor is not None]
