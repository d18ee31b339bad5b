"""Trained networks out of a checkpoint, of ours or the authors', for whatever comes after training."""

from pathlib import Path
from typing import Any

from schemas.errors import ConfigError
from trainers.checkpoint import OURS, load_networks, read
from trainers.fomm.config import CONFIGS, Config, load
from trainers.fomm.generator import OcclusionAwareGenerator
from trainers.fomm.keypoints import KPDetector


def restore(path: Path, choice: str | None = None) -> tuple[Config, KPDetector, OcclusionAwareGenerator]:
    """The config, and detector and generator in evaluation mode on the CPU.

    choice: name or YAML file of a config. A checkpoint of ours holds its own, which is taken by default; the authors' hold none.

    Raises:
        ConfigError: the checkpoint cannot be read, is of another model or architecture, or has no config and none is given
    """
    content = read(path)
    config = load(choice) if choice is not None else _own_config(content, path)
    detector, generator = KPDetector(config.architecture), OcclusionAwareGenerator(config.architecture)
    load_networks(content, {"kp_detector": detector, "generator": generator}, path)
    return config, detector.eval(), generator.eval()


def _own_config(content: dict[str, Any], path: Path) -> Config:
    ours = content.get(OURS)
    if not isinstance(ours, dict):
        raise ConfigError(f"{path} does not tell its settings: --config is needed, {', '.join(CONFIGS)} or a YAML file")
    if ours.get("model") != "fomm":
        raise ConfigError(f"{path} is a checkpoint of {ours.get('model')}, not of fomm")
    try:
        return Config.from_json(ours["config"])
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{path}: its settings are of another version: {error}") from error
