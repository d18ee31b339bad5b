"""Checkpoints saved by DataParallel, torch.compile, old torch and other training loops restore to the same weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from motionshards.trainers import settings
from motionshards.trainers.checkpoint import METADATA_KEY
from motionshards.trainers.face_rotator import config as rotator
from motionshards.trainers.face_rotator.networks import make_networks
from motionshards.trainers.face_rotator.restore import restore as restore_rotator
from motionshards.trainers.fomm import config as fomm
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import KPDetector
from motionshards.trainers.fomm.restore import restore as restore_fomm
from motionshards.trainers.ganimation import config as ganimation
from motionshards.trainers.ganimation.networks import Critic, Generator
from motionshards.trainers.ganimation.restore import restore as restore_ganimation
from motionshards.trainers.settings import changed
from motionshards.trainers.talking_heads import config as heads
from motionshards.trainers.talking_heads.discriminator import Discriminator
from motionshards.trainers.talking_heads.embedder import Embedder
from motionshards.trainers.talking_heads.finetune import restore as restore_heads
from motionshards.trainers.talking_heads.generator import Generator as ReconstructFrames

NARROW = {"block_expansion": 4, "max_features": 8, "blocks": 2}
SMALL: dict[str, dict[str, Any]] = {
    "fomm": {
        "size": 32,
        "keypoints": 3,
        "detector": NARROW,
        "dense_motion": NARROW,
        "generator": {"block_expansion": 4, "max_features": 8, "bottleneck_blocks": 1},
    },
    "face_rotator": {"size": 32, "width": 4, "blocks": 1},
    "ganimation": {"size": 16, "width": 2, "residuals": 1},
    "talking_heads": {"size": 32, "width": 4, "halvings": 4, "residuals": 1},
}
CONFIGS: dict[str, Any] = {
    "fomm": fomm.CONFIGS,
    "face_rotator": rotator.CONFIGS,
    "ganimation": ganimation.CONFIGS,
    "talking_heads": heads.CONFIGS,
}


def config_of(model: str) -> Any:
    return changed(next(iter(CONFIGS[model].values())), {"architecture": SMALL[model]})


def networks(model: str) -> dict[str, nn.Module]:
    shape = config_of(model).architecture
    if model == "fomm":
        return {"kp_detector": KPDetector(shape), "generator": OcclusionAwareGenerator(shape)}
    if model == "ganimation":
        return {"G": Generator(shape), "D": Critic(shape)}
    if model == "talking_heads":
        return {
            "E_state_dict": Embedder(shape),
            "G_state_dict": ReconstructFrames(shape),
            "D_state_dict": Discriminator(shape, videos=3),
        }
    networks = make_networks(shape)
    for network in networks.values():  # otherwise `is_trained` would be false, since norms have their initial values
        nn.init.constant_(next(value for name, value in network.named_parameters() if value.ndim == 1), 0.5)
        for module in network.modules():
            if isinstance(module, nn.InstanceNorm2d) and module.bias is not None:
                nn.init.constant_(module.bias, 0.25)
    return networks


def restored(model: str, path: Path) -> dict[str, nn.Module]:
    if model == "fomm":
        _, detector, generator = restore_fomm(path)
        return {"kp_detector": detector, "generator": generator}
    if model == "ganimation":
        return {"G": restore_ganimation(path)[1]}
    if model == "talking_heads":
        trained = restore_heads(path, None, torch.device("cpu"))
        return {"E_state_dict": trained.embedder, "G_state_dict": trained.generator, "D_state_dict": trained.discriminator}
    return dict(restore_rotator([path]).networks)


def prefixed(prefix: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {f"{prefix}{name}": value for name, value in state.items()}


VARIANTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "parallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "nested": lambda state: {"state_dict": state},
    "uncounted": lambda state: {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("model", SMALL)
def test_variants_restore_to_the_same_weights(tmp_path: Path, model: str, variant: str) -> None:
    torch.manual_seed(0)
    saved = networks(model)
    metadata = {"version": 1, "model": model, "config": settings.to_json(config_of(model))}
    content = {name: VARIANTS[variant](network.state_dict()) for name, network in saved.items()}
    torch.save({**content, METADATA_KEY: metadata, "loss": np.float64(0.5), "step": np.int64(3)}, tmp_path / "a.pt")
    found = restored(model, tmp_path / "a.pt")
    assert found
    for name, network in found.items():
        expected, state = saved[name].state_dict(), network.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], expected[key]) for key in state if key != "W")
