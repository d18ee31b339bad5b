"""Nested dataclasses of settings, from YAML files and to and from what a checkpoint holds.

A file holds the fields that differ from a base: one of the named settings, or else the first of them. Names and types are
checked before anything is built, so that a slip of the pen is told by its full name instead of being left out.
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

from motionshards.schemas.errors import ConfigError
from motionshards.transforms.augment.augment import Augment

# Settings also come out of strangers' checkpoints, and networks are built of them. Published ones stay far below.
MOST_PX = 4096
MOST_CHANNELS = 16_384
MOST_LAYERS = 64
MOST_HALVINGS = 12

T = TypeVar("T")
S = TypeVar("S", bound="Stored")


class Stored:
    """Settings that lie in checkpoints; for dataclasses, all fields of which have defaults."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """A dict of numbers, strings, lists and dicts that `from_json` turns back into equal settings."""
        return to_json(self)

    @classmethod
    def from_json(cls: type[S], stored: dict[str, Any]) -> S:
        """Inverse of `to_json`. Raises ValueError on fields of another version."""
        return from_json(cls, stored)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings:
    """Settings that the training of every model has.

    repeats: passes over the clips per epoch, each with other frames
    global_batch_size: samples per step, of all processes together
    learning_rate, betas: of Adam
    """

    epochs: int = 1
    repeats: int = 1
    global_batch_size: int = 1
    learning_rate: float = 1e-4
    betas: tuple[float, ...] = (0.5, 0.999)

    def __post_init__(self) -> None:
        counts = (self.epochs, self.repeats, self.global_batch_size)
        require("epochs, repeats and global_batch_size are at least 1", min(counts) >= 1)
        require("learning_rate is above 0", self.learning_rate > 0)
        require("betas are two numbers from 0 to below 1", len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas))
        self.augment()

    def augment(self) -> Augment:
        """How images are augmented; raises ConfigError for probabilities and factors that cannot be."""
        return Augment()


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentedTraining(TrainingSettings):
    """The same with augmentation, see `Augment`."""

    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def augment(self) -> Augment:
        """See TrainingSettings."""
        return Augment(**{name: getattr(self, name) for name in ("flip", "brightness", "contrast", "saturation", "hue")})


def require(rule: str, kept: bool) -> None:
    """Raise ValueError with the rule, unless it is kept."""
    if not kept:
        raise ValueError(rule)


def require_buildable(*, px: int = 0, channels: int = 0, layers: int = 0, halvings: int = 0) -> None:
    """Raise ValueError for numbers of which no network should be built."""
    for name, value, most in (
        ("side of images", px, MOST_PX),
        ("number of channels", channels, MOST_CHANNELS),
        ("number of layers", layers, MOST_LAYERS),
        ("number of halvings", halvings, MOST_HALVINGS),
    ):
        require(f"the {name} is at most {most}", value <= most)


def load(choice: str, bases: Mapping[str, T]) -> T:
    """The settings of that name, or those in the YAML file of that path.

    A file's `base` names one of `bases`, of which the first is taken without it. A file without `name` is called as it is.

    Raises:
        ConfigError: in one line, that there is neither, or what is wrong in the file; an unknown setting is named
    """
    return bases[choice] if choice in bases else _from_path(choice, bases)


def _from_path(path: str, bases: Mapping[str, T]) -> T:
    try:
        stored = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is neither {_or(bases)} nor a YAML file that can be read: {error}") from error
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
        raise ValueError(f"base is {base!r}, must be {_or(bases)}")
    return changed(bases[base], {"name": path.stem, **fields})


def to_json(config: Any) -> dict[str, Any]:
    """The fields of a dataclass as dicts, lists, numbers and strings, which JSON and `torch.load(weights_only=True)` take."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(entry) for name, entry in value.items()}
        return [plain(entry) for entry in value] if isinstance(value, tuple) else value

    stored: dict[str, Any] = plain(dataclasses.asdict(config))
    return stored


def from_json(kind: type[T], stored: dict[str, Any]) -> T:
    """Inverse of `to_json`: all fields must be there. Raises ValueError on fields of another version."""
    config = changed(kind(), stored)
    missing = _names(to_json(config)) - _names(stored)
    if missing:
        raise ValueError(f"settings are missing: {', '.join(sorted(missing))}")
    return config


def changed(config: T, fields: Any, prefix: str = "") -> T:
    """`config`, a dataclass, with other values of some fields, also nested ones. Raises ValueError, naming the field."""
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
    """`value` as the field `name` of type bool, int, float, str or a tuple of one of them holds it."""
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
    """A finite number. Also of text, since YAML takes 2e-4 for text and only 2.0e-4 for a number."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} is {reprlib.repr(value)}, must be {_KINDS[float]}")
    return number


_KINDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}


def _mapping(value: Any, name: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name or 'the whole'} is {reprlib.repr(value)}, must be settings with their values")
    return value


def _names(stored: dict[str, Any], prefix: str = "") -> set[str]:
    """Full names of all fields, also of nested ones."""
    nested = [_names(value, f"{prefix}{name}.") for name, value in stored.items() if isinstance(value, dict)]
    return {prefix + name for name in stored}.union(*nested)


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; {near[0]} is" if near else f"; there are {', '.join(known)}"


def _or(names: Mapping[str, Any]) -> str:
    return " or ".join([", ".join([*names][:-1]), [*names][-1]]) if len(names) > 1 else next(iter(names))
