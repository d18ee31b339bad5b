"""Trained networks out of a checkpoint, of ours or the authors', for whatever comes after training."""

from pathlib import Path

from motionshards.trainers import settings
from motionshards.trainers.checkpoint import load_networks, stored_config
from motionshards.trainers.fomm.config import CONFIGS, Config
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import KPDetector
from motionshards.trainers.weights import read


def restore(path: Path, choice: str | None = None) -> tuple[Config, KPDetector, OcclusionAwareGenerator]:
    """The config, and detector and generator in evaluation mode on the CPU.

    choice: name or YAML file of a config. A checkpoint of ours holds its own, which is taken by default; the authors' hold none.

    Raises:
        ConfigError: the checkpoint cannot be read, is of another model or architecture, or has no config and none is given
    """
    content = read(path)
    config = settings.load(choice, CONFIGS) if choice is not None else stored_config(content, path, "fomm", Config)
    detector, generator = KPDetector(config.architecture), OcclusionAwareGenerator(config.architecture)
    load_networks(content, {"kp_detector": detector, "generator": generator}, path)
    return config, detector.eval(), generator.eval()
