"""Loads trained networks from checkpoints, our own or the authors', for inference."""

from dataclasses import replace
from pathlib import Path

from motionshards.trainers import settings
from motionshards.trainers.checkpoint import restored, stored_config
from motionshards.trainers.fomm.config import CONFIGS, Config
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import KPDetector
from motionshards.transforms.weight_file import read


def restore(
    path: Path, choice: str | None = None, *, align_corners: bool | None = None
) -> tuple[Config, KPDetector, OcclusionAwareGenerator]:
    """Load the config of a checkpoint, and detector and generator in evaluation mode on the CPU.

    choice: name or YAML file of a config, which the authors' checkpoints require; None for the config stored in the checkpoint
    align_corners: overrides that of the config, see `Architecture`

    Raises:
        ConfigError: the checkpoint cannot be read, is of another model or architecture, or has no config and `choice` is None
    """
    content = read(path)
    config = settings.load(choice, CONFIGS) if choice is not None else stored_config(content, path, "fomm", Config)
    if align_corners is not None:
        config = replace(config, architecture=replace(config.architecture, align_corners=align_corners))
    shape = config.architecture
    detector = restored(content, lambda: {"kp_detector": KPDetector(shape)}, path)["kp_detector"]
    generator = restored(content, lambda: {"generator": OcclusionAwareGenerator(shape)}, path)["generator"]
    return config, detector.eval(), generator.eval()
