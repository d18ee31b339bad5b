"""Loads networks from checkpoints of this project and of the published code, which writes one file per network.

Published files have names such as `net_epoch_30_id_G.pth` and contain a state dict only. Older ones also contain running
statistics of instance norms, which were never used, and those of several GPUs have a prefix before each key.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from motionshards.schemas.errors import ConfigError
from motionshards.trainers import settings
from motionshards.trainers.checkpoint import METADATA_KEY, load_networks, restored, stored_config, stored_names
from motionshards.trainers.ganimation.config import CONFIGS, Config
from motionshards.trainers.ganimation.networks import Generator
from motionshards.trainers.weights import networks_of, plain_state
from motionshards.transforms.weight_file import read

GENERATOR, CRITIC = "G", "D"
# Key of the origin of action units in checkpoints, see Task.names.
ACTION_UNITS = "action units"
_UNUSED = ("running_mean", "running_var", "num_batches_tracked")
_MARKS = {"img_reg.0.weight": GENERATOR, "conv2.weight": CRITIC}


def states(content: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """Return the states of the networks in a checkpoint by name, without unused entries.

    Raises:
        ConfigError: it contains neither `G` nor `D`, and is not the state of one of them
    """
    content = networks_of(content, dict.fromkeys((GENERATOR, CRITIC)))
    found = {name: content[name] for name in (GENERATOR, CRITIC) if isinstance(content.get(name), Mapping)}
    if not found:
        bare = _cleaned(content)
        found = {name: bare for mark, name in _MARKS.items() if mark in bare}
    if not found:
        raise ConfigError(
            f"{path} has neither G nor D and is not the state of one; it has {', '.join(sorted(map(str, content)))}"
        )
    return {name: _cleaned(state) for name, state in found.items()}


def load_available(content: Mapping[str, Any], path: Path, networks: Mapping[str, nn.Module]) -> None:
    """Load the networks with weights in `content`, or in the other file that the published code wrote with it.

    Networks without weights are not changed.

    Raises:
        ConfigError: a state has another architecture, or there are no weights
    """
    found = states(content, path)
    for name in networks:
        other = _beside(path, name)
        if name not in found and other is not None:
            found |= states(read(other), other)
    load_networks(found, {name: networks[name] for name in found}, path)


def refuse_other_action_units(content: Mapping[str, Any], path: Path, aus: Sequence[str]) -> None:
    """Raise ConfigError if a checkpoint was trained on action units of another origin; the authors' do not record it."""
    metadata = content.get(METADATA_KEY)
    trained = stored_names(metadata, ACTION_UNITS) if isinstance(metadata, dict) else []
    if trained and trained != list(aus):
        origins = f"action units of {', '.join(trained)}, and those of the dataset are of {', '.join(aus)}"
        raise ConfigError(f"{path} was trained on {origins}: they must not be mixed, see docs/ganimation.md")


def restore(path: Path, choice: str | None = None, aus: str | None = None) -> tuple[Config, Generator]:
    """Load the config of a checkpoint, and its generator in evaluation mode on the CPU.

    choice: name or YAML file of a config, which the authors' checkpoints require; None for the config stored in the checkpoint
    aus: origin of the action units that the generator will receive, as in `--aus`; None skips the comparison

    Raises:
        ConfigError: the checkpoint cannot be read, is of another model or architecture, has no config and `choice` is None, or
            was trained on action units of another origin
    """
    content = read(path)
    if aus is not None:
        refuse_other_action_units(content, path, (aus,))
    config = settings.load(choice, CONFIGS) if choice is not None else stored_config(content, path, "ganimation", Config)
    loaded = restored(states(content, path), lambda: {GENERATOR: Generator(config.architecture)}, path)
    return config, loaded[GENERATOR].eval()


def _cleaned(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plain_state(state).items() if not key.endswith(_UNUSED)}


def _beside(path: Path, name: str) -> Path | None:
    """Return the file of the network `name` that was written with `path`; None if there is none."""
    other = path.with_name(re.sub(r"_id_[GD](?=\.)", f"_id_{name}", path.name))
    return other if other != path and other.is_file() else None
