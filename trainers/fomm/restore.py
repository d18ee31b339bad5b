"""Trained networks out of a checkpoint, of ours or the authors', for whatever comes after training."""

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
    """The config, and detector and generator in evaluation mode on the CPU.

    choice: name or YAML file of a config. A checkpoint of ours holds its own, which is taken by default; the authors' hold none.
    align_corners: replaces that of the config, see `Architecture`

    Raises:
        ConfigError: the checkpoint cannot be read, is of another model or architecture, or has no config and none is given
    """
    content = read(path)
    config = settings.load(choice, CONFIGS) if choice is not None else stored_config(content, path, "fomm", Config)
    if align_corners is not None:
        config = replace(config, architecture=replace(config.architecture, align_corners=align_corners))
    shape = config.architecture
    detector = restored(content, lambda: {"kp_detector": KPDetector(shape)}, path)["kp_detector"]
    generator = restored(content, lambda: {"generator": OcclusionAwareGenerator(shape)}, path)["generator"]
    return config, detector.eval(), generator.eval()
