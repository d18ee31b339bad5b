"""Nested dataclasses of settings, loaded from YAML files and stored in checkpoints.

A file contains the fields that differ from its base, which is one of the named configs. Names and types are checked before
anything is built, so a misspelt setting is reported by its full name instead of being ignored.
"""

import dataclasses
import difflib
import math
import reprlib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from motionshards.schemas.errors import ConfigError, either
from motionshards.transforms.augment.augment import Augment

# Checkpoints are untrusted, and networks are built from their settings. Published values are far below these limits.
MAX_PX = 4096
MAX_CHANNELS = 16_384
MAX_LAYERS = 64
MAX_HALVINGS = 12

T = TypeVar("T")
S = TypeVar("S", bound="Stored")


class Stored:
    """Settings that can be stored in checkpoints: a base of dataclasses whose fields all have defaults."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """Convert to a dict of numbers, strings, lists and dicts, the inverse of `from_json`."""
        return to_json(self)

    @classmethod
    def from_json(cls: type[S], stored: dict[str, Any]) -> S:
        """Convert back from `to_json`. Raises ValueError: the fields are those of another version."""
        return from_json(cls, stored)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings:
    """Training settings of all models.

    repeats: draws of each clip per epoch, each with different frames
    global_batch_size: samples per step over all processes
    learning_rate, betas: parameters of Adam
    """

    epochs: int = 1
    repeats: int = 1
    global_batch_size: int = 1
    learning_rate: float = 1e-4
    betas: tuple[float, ...] = (0.5, 0.999)

    def __post_init__(self) -> None:
        counts = (self.epochs, self.repeats, self.global_batch_size)
        require("epochs, repeats and global_batch_size must be at least 1", min(counts) >= 1)
        require("learning_rate must be above 0", self.learning_rate > 0)
        require("betas must be two numbers in [0, 1)", len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas))
        self.augment()

    @property
    def can_extend(self) -> bool:
        """Whether a run may be resumed with another number of epochs: not if its learning rate depends on that number."""
        return True

    def augment(self) -> Augment:
        """Return the augmentation of images. Raises ConfigError: a probability or factor is out of range."""
        return Augment()


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentedTraining(TrainingSettings):
    """Training settings with augmentation, see `Augment`."""

    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def augment(self) -> Augment:
        """See TrainingSettings."""
        return Augment(**{name: getattr(self, name) for name in ("flip", "brightness", "contrast", "saturation", "hue")})


def require(rule: str, satisfied: bool) -> None:
    """Raise ValueError with the rule if it is violated."""
    if not satisfied:
        raise ValueError(rule)


def require_buildable(*, px: int = 0, channels: int = 0, layers: int = 0, halvings: int = 0) -> None:
    """Raise ValueError for sizes that no network should be built with."""
    for name, value, most in (
        ("side of images", px, MAX_PX),
        ("number of channels", channels, MAX_CHANNELS),
        ("number of layers", layers, MAX_LAYERS),
        ("number of halvings", halvings, MAX_HALVINGS),
    ):
        require(f"the {name} must be at most {most}", value <= most)


def load(choice: str, bases: Mapping[str, T]) -> T:
    """Return the settings with the name `choice`, or load those of the YAML file `choice`.

    `base` in a file names one of `bases`; by default the first. `name` defaults to the stem of the file name.

    Raises:
        ConfigError: there is neither, or the file has an error; unknown settings are named
    """
    return bases[choice] if choice in bases else _from_path(choice, bases)


def _from_path(path: str, bases: Mapping[str, T]) -> T:
    try:
        stored = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        near = difflib.get_close_matches(path, bases, n=1)
        meant = f"did you mean {near[0]}?" if near else f"configs are {', '.join(bases)}"
        raise ConfigError(f"{path} is neither a published config nor a YAML file; {meant}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a YAML file: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return _from_file(Path(path), stored, bases)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _from_file(path: Path, stored: Any, bases: Mapping[str, T]) -> T:
    fields = dict(_mapping(stored, "the file"))
    base = fields.pop("base", next(iter(bases)))
    if not isinstance(base, str) or base not in bases:
        raise ValueError(f"base is {base!r}, must be {either(bases)}")
    return changed(bases[base], {"name": path.stem, **fields})


def to_json(config: Any) -> dict[str, Any]:
    """Convert a dataclass to dicts, lists, numbers and strings, as in JSON and `torch.load(weights_only=True)`."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(entry) for name, entry in value.items()}
        return [plain(entry) for entry in value] if isinstance(value, tuple) else value

    stored: dict[str, Any] = plain(dataclasses.asdict(config))
    return stored


def from_json(kind: type[T], stored: dict[str, Any]) -> T:
    """Convert back from `to_json`. All fields are required. Raises ValueError: they are those of another version."""
    config = changed(kind(), stored)
    missing = _names(to_json(config)) - _names(stored)
    if missing:
        raise ValueError(f"settings are missing: {', '.join(sorted(missing))}")
    return config


def changed(config: T, fields: Any, prefix: str = "") -> T:
    """Return the dataclass `config` with other values of some fields, also nested ones. Raises ValueError naming the field."""
    kinds = typing.get_type_hints(type(config))
    values = {}
    for name, value in _mapping(fields, prefix[:-1]).items():
        if name not in kinds:
            raise ValueError(f"{prefix}{name} is not a setting{_nearest(str(name), list(kinds))}")
        old = getattr(config, name)
        nested = dataclasses.is_dataclass(old)
        values[name] = changed(old, value, f"{prefix}{name}.") if nested else _typed(kinds[name], value, prefix + name)
    try:
        return dataclasses.replace(config, **values)  # type: ignore[type-var]
    except ValueError as error:
        raise ValueError(f"{prefix[:-1]}: {error}" if prefix else str(error)) from error


def _typed(kind: Any, value: Any, name: str) -> Any:
    """Convert `value` to the type of the field `name`: bool, int, float, str or a tuple of one of these."""
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} is {reprlib.repr(value)}, must be a list")
        return tuple(_typed(typing.get_args(kind)[0], entry, f"{name}[{place}]") for place, entry in enumerate(value))
    if kind is float:
        return _number(value, name)
    if type(value) is not kind:
        raise ValueError(f"{name} is {reprlib.repr(value)}, must be {_KINDS[kind]}")
    return value


def _number(value: Any, name: str) -> float:
    """Parse a finite number, also from a string: YAML reads 2.0e-4 as a number, but 2e-4 as a string."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} is {reprlib.repr(value)}, must be {_KINDS[float]}")
    return number


_KINDS = {bool: "true or false", int: "an integer", float: "a finite number", str: "text"}


def _mapping(value: Any, name: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name or 'the file'} is {reprlib.repr(value)}, must be a mapping of settings to values")
    return value


def _names(stored: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the full names of all fields, also of nested ones."""
    nested = [_names(value, f"{prefix}{name}.") for name, value in stored.items() if isinstance(value, dict)]
    return {prefix + name for name in stored}.union(*nested)


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; settings are {', '.join(known)}"
