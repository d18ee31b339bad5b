"""Checkpoints of all models with networks for images of 32 px, as training writes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from fomm_inputs import TINY
from torch import nn

from motionshards.trainers.face_rotator.architecture import Architecture as FaceRotator
from motionshards.trainers.face_rotator.networks import make_networks
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import KPDetector
from motionshards.trainers.ganimation.architecture import Architecture as Ganimation
from motionshards.trainers.ganimation.networks import Generator as Editor
from motionshards.trainers.models import MODELS
from motionshards.trainers.settings import load
from motionshards.trainers.talking_heads.architecture import Architecture as TalkingHeads
from motionshards.trainers.talking_heads.discriminator import Discriminator
from motionshards.trainers.talking_heads.embedder import Embedder
from motionshards.trainers.talking_heads.generator import Generator

SHAPES: dict[str, dict[str, Any]] = {
    "face_rotator": {"size": 32, "width": 4, "blocks": 1},
    "fomm": yaml.safe_load(TINY)["architecture"],
    "ganimation": {"size": 32, "width": 4, "residuals": 1},
    "talking_heads": {"size": 32, "width": 4, "halvings": 4, "residuals": 1},
}


def tiny_checkpoint(folder: Path, model: str, seed: int = 5, **names: list[str]) -> Path:
    """A checkpoint of a model with random weights; `names` are recorded as training does."""
    torch.manual_seed(seed)
    (folder / f"{model}.yaml").write_text(yaml.safe_dump({"architecture": SHAPES[model]}))
    config = load(str(folder / f"{model}.yaml"), MODELS[model].configs)
    about = {"model": model, "config": config.to_json(), "names": names}
    states = {name: network.state_dict() for name, network in _networks(model, config.architecture).items()}
    torch.save({**states, "motionshards": about}, folder / f"{model}-{seed}.pt")
    return folder / f"{model}-{seed}.pt"


def _networks(model: str, shape: Any) -> Mapping[str, nn.Module]:
    if model == "fomm":
        return {"kp_detector": KPDetector(shape), "generator": OcclusionAwareGenerator(shape)}
    if model == "ganimation":
        assert isinstance(shape, Ganimation)
        return {"G": Editor(shape)}
    if model == "talking_heads":
        assert isinstance(shape, TalkingHeads)
        return {"E_state_dict": Embedder(shape), "G_state_dict": Generator(shape), "D_state_dict": Discriminator(shape, 1)}
    assert isinstance(shape, FaceRotator)
    networks = make_networks(shape)
    for network in networks.values():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter, 0, 0.1)  # new networks have 0
    return networks
