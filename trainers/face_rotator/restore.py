"""Loads networks from checkpoints of this project, which contain all three, and from published files with one each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.checkpoint import METADATA_KEY, load_networks, restored, stored_config
from motionshards.trainers.face_rotator.architecture import Architecture
from motionshards.trainers.face_rotator.config import Config
from motionshards.trainers.face_rotator.networks import NAMES, is_trained, make_networks
from motionshards.trainers.weights import networks_of, plain_state
from motionshards.transforms.weight_file import read

_IDENTIFYING_KEYS = {
    "color_change.0.weight": "morpher",
    "zhou_grid_change.weight": "rotator",
    "combine_alpha_mask.0.weight": "combiner",
}
_MAX_NAMES = 3


@dataclass(frozen=True, slots=True)
class Restored:
    """Trained networks by name, in evaluation mode on the CPU.

    matte: whether they were trained on images with transparency, like the published ones; datasets here have none
    """

    architecture: Architecture
    networks: Mapping[str, nn.Module]
    matte: bool


def fill(content: Mapping[str, Any], networks: Mapping[str, nn.Module], path: Path) -> list[str]:
    """Load the networks that a checkpoint contains, and return their names.

    Raises:
        ConfigError: it contains none of them, or one of another architecture
    """
    named = _named(content, networks, path)
    load_networks(named, {name: networks[name] for name in named}, path)
    return list(named)


def _named(content: Mapping[str, Any], networks: Collection[str], path: Path) -> dict[str, Any]:
    """Return the states of networks in a checkpoint by name. Raises ConfigError: it contains none."""
    content = networks_of(content, dict.fromkeys(networks))
    named = {name: content[name] for name in networks if name in content}
    if not named:
        bare = plain_state(content)
        named = {name: bare for key, name in _IDENTIFYING_KEYS.items() if key in bare and name in networks}
    if not named:
        keys = sorted(map(str, content))
        more = f" and {len(keys) - _MAX_NAMES} more" if len(keys) > _MAX_NAMES else ""
        raise ConfigError(f"{path} has none of {', '.join(NAMES)}; it has {', '.join(keys[:_MAX_NAMES])}{more}")
    return named


def restore(paths: Sequence[Path]) -> Restored:
    """Load the trained networks from some files; later files take precedence.

    Raises:
        ConfigError: a file cannot be read or is of another model, or architectures differ
    """
    contents = {path: read(path) for path in paths}
    configs = [
        stored_config(content, path, "face_rotator", Config) for path, content in contents.items() if METADATA_KEY in content
    ]
    architecture = configs[0].architecture if configs else Architecture()
    networks: dict[str, nn.Module] = {}
    for path, content in contents.items():
        loaded = _restored(content, architecture, path)
        networks |= {name: network.eval() for name, network in loaded.items() if is_trained(network)}
    return Restored(architecture, networks, matte=not configs)


def _restored(content: Mapping[str, Any], architecture: Architecture, path: Path) -> dict[str, nn.Module]:
    named = _named(content, NAMES, path)

    def make() -> dict[str, nn.Module]:
        return {name: network for name, network in make_networks(architecture).items() if name in named}

    return restored(named, make, path)
