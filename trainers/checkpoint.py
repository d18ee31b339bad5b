"""Checkpoints with the published keys, so that the authors' code can load them, and the key `motionshards` for resuming.

    {"generator": …, "kp_detector": …, "optimizer_generator": …, "epoch": 12, "motionshards": {"step": …, "loader": …}}

`transforms.weight_file` reads them.
"""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from motionshards.schemas.atomic import replacing
from motionshards.schemas.errors import ConfigError, one_line
from motionshards.trainers import settings
from motionshards.trainers.task import Task
from motionshards.trainers.weights import networks_of, plain_state
from motionshards.transforms.weight_file import read, stored_bytes

METADATA_KEY = "motionshards"
LAST = "last.pt"
_VERSION = 1
_MAX_NAMES = 4
_EPOCHS = "training.epochs"

# Half precision is converted to float32, and networks may have small buffers that are not stored.
_MAX_WIDENING = 4
_SLACK_BYTES = 1 << 20

T = TypeVar("T")
M = TypeVar("M", bound=torch.nn.Module)


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a training.

    epoch: number of the current epoch, from 0
    step: number of training steps so far
    loader: `Loader.state_dict()`
    """

    epoch: int
    step: int
    loader: dict[str, Any]


def save(path: Path, task: Task, progress: Progress) -> None:
    """Write a checkpoint atomically: a crash leaves the previous one. Raises OSError."""
    content: dict[str, Any] = {name: network.state_dict() for name, network in task.networks.items()}
    content |= {name: optimizer.state_dict() for name, optimizer in task.optimizers.items()}
    content["epoch"] = progress.epoch
    content[METADATA_KEY] = {
        "version": _VERSION,
        "model": task.name,
        "config": task.config,
        "names": {kind: list(names) for kind, names in task.names.items()},
        "step": progress.step,
        "loader": progress.loader,
        "schedulers": {name: scheduler.state_dict() for name, scheduler in task.schedulers.items()},
        "torch_rng": torch.get_rng_state(),
    }
    with replacing(path.parent, path) as temporary:
        torch.save(content, temporary)


def load_networks(content: Mapping[str, Any], networks: Mapping[str, torch.nn.Module], path: Path) -> None:
    """Load the weights of networks. Raises ConfigError: one is missing or has another architecture; the keys are named."""
    for name, state in _states(content, networks, path).items():
        try:
            networks[name].load_state_dict(state)
        except RuntimeError as error:  # tensors that cannot be copied, such as sparse ones
            raise ConfigError(f"{path}: {name} cannot be loaded: {one_line(error)}") from error


def restored(content: Mapping[str, Any], make: Callable[[], Mapping[str, M]], path: Path) -> dict[str, M]:
    """Build networks by `make` and load their weights from a checkpoint whose settings need not be trusted.

    They are first built without memory on torch's meta device and compared with the file, so that no checkpoint can cause the
    allocation of more than its own weights.

    Raises:
        ConfigError: as `load_networks`
    """
    with torch.device("meta"), _WithoutNormals():
        skeletons = make()
    states = _states(content, skeletons, path)
    needed = sum(value.nbytes for network in skeletons.values() for value in network.state_dict().values())
    if needed > _MAX_WIDENING * stored_bytes(states) + _SLACK_BYTES:  # views of few bytes can have any shape
        raise ConfigError(f"{path}: weights are views of {stored_bytes(states):,} bytes, but the networks need {needed:,}")
    networks = dict(make())
    load_networks(content, networks, path)
    return networks


class _WithoutNormals(TorchFunctionMode):
    """Skips normal initialization, for which torch's meta device imports its compiler: three seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return next(iter((*args, *kwargs.values()))) if func.__name__.endswith("normal_") else func(*args, **kwargs)


def _states(content: Mapping[str, Any], networks: Mapping[str, torch.nn.Module], path: Path) -> dict[str, Any]:
    """Return the states of networks by name, with the right keys and shapes. Raises ConfigError."""
    content, states = networks_of(content, networks), {}
    for name, network in networks.items():
        if name not in content:
            raise ConfigError(f"{path} has no {name}; it has {_listed(sorted(content))}")
        expected = network.state_dict()
        states[name] = plain_state(content[name], expected)
        if difference := _difference(expected, states[name]):
            raise ConfigError(f"{path}: {name} has another architecture: {difference}")
    return states


def stored_config(content: Mapping[str, Any], path: Path, model: str, kind: type[T]) -> T:
    """Return the settings of `model` stored in a checkpoint of this project, as the dataclass `kind`.

    Raises:
        ConfigError: the checkpoint is the authors', which has no settings, or of another model or version
    """
    metadata = content.get(METADATA_KEY)
    if not isinstance(metadata, dict):
        raise ConfigError(f"{path} does not contain its settings; pass --config with the name of a published one or a YAML file")
    if metadata.get("model") != model:
        raise ConfigError(f"{path} is a checkpoint of {metadata.get('model')}, not of {model}")
    try:
        return settings.from_json(kind, metadata["config"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: its settings are of another version: {one_line(error)}") from error


def resume(path: Path, task: Task, device: torch.device, *, can_extend: bool = False) -> Progress:
    """Restore a task from its checkpoint and return the progress recorded in it.

    can_extend: whether the number of epochs may differ, see `TrainingSettings.can_extend`

    Raises:
        ConfigError: the checkpoint is of another model or config; the message names the differences
    """
    content = read(path, device)
    metadata = content.get(METADATA_KEY)
    if not isinstance(metadata, dict) or metadata.get("version") != _VERSION:
        raise ConfigError(f"{path} contains weights but no training state to resume; use --init to start from its weights")
    if metadata.get("model") != task.name:
        raise ConfigError(f"{path} is a checkpoint of {metadata.get('model')}, not of {task.name}; use another --output")
    if other := _other_settings(metadata.get("config"), task.config, may_differ=_EPOCHS if can_extend else ""):
        why = (
            "; its learning rate depends on the number of epochs" if any(line.startswith(f"{_EPOCHS}:") for line in other) else ""
        )
        raise ConfigError(f"{path} was trained with different settings ({'; '.join(other)}){why}. {remedy(path)}")
    for kind, names in task.names.items():
        if isinstance(metadata.get("names"), dict) and kind not in metadata["names"]:
            continue  # written by a version that did not record them
        if difference := _other_names(stored_names(metadata, kind), names):
            raise ConfigError(f"{path} was trained on other {kind}: {difference}. Use --init to start a new run from its weights")
    load_networks(content, task.networks, path)
    try:
        for name, optimizer in task.optimizers.items():
            optimizer.load_state_dict(content[name])
        for name, scheduler in task.schedulers.items():
            scheduler.load_state_dict(metadata["schedulers"][name])
        torch.set_rng_state(metadata["torch_rng"].cpu())
        return Progress(content["epoch"], metadata["step"], metadata["loader"])
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ConfigError(f"{path} cannot be resumed from: {one_line(error)}") from error


def saved_step(path: Path) -> int | None:
    """Return the step of a checkpoint that can be resumed from, without reading its tensors; None if there is no such file."""
    try:
        return int(read(path, "meta")[METADATA_KEY]["step"])
    except (ConfigError, KeyError, TypeError, ValueError):
        return None


def remedy(path: Path) -> str:
    """Return what to do about a checkpoint that cannot be resumed with the given options."""
    return (
        f"To resume, use the same options as before; for a new run, use another --output (--init {path} starts from its weights)"
    )


def _difference(expected: Mapping[str, torch.Tensor], found: Any) -> str:
    """Describe missing keys, unknown keys and different shapes; empty if there are none."""
    if not isinstance(found, Mapping):
        return f"it is a {type(found).__name__}"
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    shapes = [
        f"{name} is {list(getattr(found[name], 'shape', ()))}, not {list(expected[name].shape)}"
        for name in expected.keys() & found.keys()
        if getattr(found[name], "shape", None) != expected[name].shape
    ]
    parts = [("missing", missing), ("unknown", unknown), ("shapes", sorted(shapes))]
    return "; ".join(f"{kind}: {_listed(names)}" for kind, names in parts if names)


def stored_names(metadata: Mapping[str, Any], kind: str) -> list[str]:
    """Return the names in a checkpoint of this project; none if it is damaged or has no such names."""
    listed = metadata["names"].get(kind) if isinstance(metadata.get("names"), dict) else None
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def _other_names(stored: Sequence[str], expected: Sequence[str]) -> str:
    """Describe how two lists of names differ; empty if they are equal."""
    if list(stored) == list(expected):
        return ""
    missing, new = sorted({*stored} - {*expected}), sorted({*expected} - {*stored})
    parts = [("missing", missing), ("new", new)]
    return "; ".join(f"{len(names):,} {kind}: {_listed(names)}" for kind, names in parts if names) or "their order differs"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _other_settings(stored: Any, expected: Any, name: str = "", may_differ: str = "") -> list[str]:
    """Describe the differences between two nested dicts of plain values, except for the setting `may_differ`."""
    if name and name == may_differ:
        return []
    if isinstance(stored, dict) and isinstance(expected, dict):
        names = {key: f"{name}.{key}" if name else key for key in sorted(stored.keys() | expected.keys())}
        found = (_other_settings(stored.get(key), expected.get(key), full, may_differ) for key, full in names.items())
        return [line for lines in found for line in lines]
    as_list = [list(value) if isinstance(value, tuple) else value for value in (stored, expected)]
    return [] if as_list[0] == as_list[1] else [f"{name}: {reprlib.repr(stored)} → {expected!r}"]
