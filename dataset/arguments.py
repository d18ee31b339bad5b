"""Checks of the arguments of streams and loaders, so that a wrong one is reported in one line where it was passed."""

import operator
import os
from collections.abc import Iterable
from typing import Any

import torch

from motionshards.dataset.reading.view import View
from motionshards.dataset.reading.world import World
from motionshards.schemas.errors import ConfigError

_VIEW_ATTRIBUTES = ("n", "per_identity", "in_time_order", "unusable", "pick")


def whole_number(name: str, value: Any, least: int) -> int:
    """An integer, also one of numpy's. Raises ConfigError: it is something else, or below `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ConfigError(f"{name} must be an integer of at least {least}, not {value!r}")
    return number


def seed(value: Any) -> int:
    """A seed, which must fit into 63 bits. Raises ConfigError: it is something else."""
    if whole_number("seed", value, 0) >= 1 << 63:
        raise ConfigError(f"seed must be below 2**63, not {value!r}")
    return operator.index(value)


def one_of(name: str, value: Any, allowed: Iterable[str | None]) -> None:
    """Raises ConfigError: the value is not one of those allowed."""
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}, must be {' or '.join(map(str, allowed))}")


def text_or_none(name: str, value: Any, example: str) -> None:
    """Raises ConfigError: the value is neither a string nor None."""
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{name} must be a string such as {example}, or None, not {value!r}")


def names(name: str, values: Any) -> list[str] | None:
    """Distinct names in alphabetical order, or None. Raises ConfigError: it is a single string, or holds something else."""
    if values is None:
        return None
    if isinstance(values, (str, bytes)):
        raise ConfigError(f"{name} must be a list of strings, not the string {values!r}: write [{values!r}]")
    try:
        listed = list(values)
    except TypeError:
        raise ConfigError(f"{name} must be a list of strings, not {values!r}") from None
    if wrong := [value for value in listed if not isinstance(value, str)]:
        raise ConfigError(f"{name} must be strings, not {wrong[0]!r}")
    return sorted(set(listed))


def view(value: Any) -> View:
    """A view. Raises ConfigError: it is a class, or something else."""
    if isinstance(value, type):
        raise ConfigError(f"view must be an instance, not the class {value.__name__}: write {value.__name__}(…)")
    if missing := [name for name in _VIEW_ATTRIBUTES if not hasattr(value, name)]:
        raise ConfigError(f"view must be a view such as Pairs(2), not {value!r}, which has no {missing[0]!r}")
    checked: View = value
    return checked


def shuffle(value: Any, modes: Iterable[str]) -> str | None:
    """The shuffle mode; None, which True stands for, is the default of the data set, and False is `none`.

    Raises:
        ConfigError: it is something else
    """
    if value is True or value is None:
        return None
    chosen = "none" if value is False else value
    if not isinstance(chosen, str) or chosen not in modes:
        raise ConfigError(f"shuffle is {value!r}, must be one of {', '.join(modes)}, True or False")
    return chosen


def world(value: Any) -> World:
    """A world. Raises ConfigError: it is something else."""
    if not isinstance(value, World):
        raise ConfigError(f"world must be World(rank, size), not {value!r}")
    return value


def path(name: str, value: Any) -> None:
    """Raises ConfigError: the value is neither a path nor a string."""
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"{name} must be a path, or a URL where that is allowed, not {value!r}")


def device(value: Any) -> torch.device:
    """A device of this machine. Raises ConfigError: there is no such device."""
    try:
        chosen = torch.device(value)
    except (RuntimeError, TypeError):
        raise ConfigError(f"device must be a torch device such as 'cpu', 'cuda' or 'cuda:1', not {value!r}") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device is {value!r}, and CUDA is not available here")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device is {value!r}, and this machine has {torch.cuda.device_count()} CUDA devices")
    if chosen.type not in ("cpu", "cuda"):
        _check_present(chosen, value)
    return chosen


def _check_present(chosen: torch.device, value: Any) -> None:
    """Raises ConfigError: torch knows the kind of device, and no data can be moved to and from it here."""
    try:
        torch.empty(1, device=chosen).cpu()
    except (RuntimeError, AssertionError, ImportError):  # which of them depends on the backend
        raise ConfigError(f"device is {value!r}, which is not available here") from None
