"""Networks out of checkpoints: ours, and those of the published code, which writes a file for each network.

Its files are called as `net_epoch_30_id_G.pth`; such a file holds a state alone. Older ones hold running statistics of
instance norms, which were never used, and those of several GPUs a prefix before each key.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from motionshards.schemas.errors import ConfigError
from motionshards.trainers import settings
from motionshards.trainers.checkpoint import OURS, load_networks, names_in, restored, stored_config
from motionshards.trainers.ganimation.config import CONFIGS, Config
from motionshards.trainers.ganimation.networks import Generator
from motionshards.trainers.weights import networks_of, plain_state
from motionshards.transforms.weight_file import read

GENERATOR, CRITIC = "G", "D"
# What a checkpoint lists the origin of its action units under.
ACTION_UNITS = "action units"
_UNUSED = ("running_mean", "running_var", "num_batches_tracked")
_MARKS = {"img_reg.0.weight": GENERATOR, "conv2.weight": CRITIC}


def states(content: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """The states of the networks that a checkpoint's `content` holds, by name, without what is not used.

    Raises:
        ConfigError: it holds neither `G` nor `D`, nor is it the state of one of them
    """
    content = networks_of(content, dict.fromkeys((GENERATOR, CRITIC)))
    found = {name: content[name] for name in (GENERATOR, CRITIC) if isinstance(content.get(name), Mapping)}
    if not found:
        bare = _cleaned(content)
        found = {name: bare for mark, name in _MARKS.items() if mark in bare}
    if not found:
        raise ConfigError(f"{path} has no G and no D, and is the state of neither; it has {', '.join(sorted(map(str, content)))}")
    return {name: _cleaned(state) for name, state in found.items()}


def begin(content: Mapping[str, Any], path: Path, networks: Mapping[str, nn.Module]) -> None:
    """Fill the networks of which there are weights: in `content`, or in the other file that the published code wrote with it.

    The other, if there is none, keeps its own.

    Raises:
        ConfigError: a state is of another architecture, or there is none
    """
    found = states(content, path)
    for name in networks:
        other = _beside(path, name)
        if name not in found and other is not None:
            found |= states(read(other), other)
    load_networks(found, {name: networks[name] for name in found}, path)


def refuse_other_action_units(content: Mapping[str, Any], path: Path, aus: Sequence[str]) -> None:
    """Raise ConfigError if a checkpoint of ours was trained on action units of another origin; the authors' record none."""
    ours = content.get(OURS)
    trained = names_in(ours, ACTION_UNITS) if isinstance(ours, dict) else []
    if trained and trained != list(aus):
        told = f"action units of {', '.join(trained)}, and those of the dataset are of {', '.join(aus)}"
        raise ConfigError(f"{path} was trained on {told}: they must not be mixed, see docs/ganimation.md")


def restore(path: Path, choice: str | None = None, aus: str | None = None) -> tuple[Config, Generator]:
    """The config, and the generator in evaluation mode on the CPU.

    choice: name or YAML file of a config. A checkpoint of ours holds its own, which is taken by default; the authors' hold none.
    aus: origin of the action units that the generator will get, as `--aus` has it; None does not compare

    Raises:
        ConfigError: the checkpoint cannot be read, is of another model or architecture, has no config and none is given, or was
            trained on action units of another origin
    """
    content = read(path)
    if aus is not None:
        refuse_other_action_units(content, path, (aus,))
    config = settings.load(choice, CONFIGS) if choice is not None else stored_config(content, path, "ganimation", Config)
    made = restored(states(content, path), lambda: {GENERATOR: Generator(config.architecture)}, path)
    return config, made[GENERATOR].eval()


def _cleaned(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plain_state(state).items() if not key.endswith(_UNUSED)}


def _beside(path: Path, name: str) -> Path | None:
    """The file of the network `name` that was written with the one at `path`; None where there is none."""
    other = path.with_name(re.sub(r"_id_[GD](?=\.)", f"_id_{name}", path.name))
    return other if other != path and other.is_file() else None
