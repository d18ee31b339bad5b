"""Argument checks of streams and loaders: an invalid argument raises a one-line error where it was passed."""

import operator
import os
from collections.abc import Iterable
from typing import Any

import torch

from motionshards.dataset.reading.view import View
from motionshards.dataset.reading.world import World
from motionshards.schemas.errors import ConfigError, either

_VIEW_ATTRIBUTES = ("n", "per_identity", "in_time_order", "unusable", "pick")


def whole_number(name: str, value: Any, least: int) -> int:
    """The value as an int; numpy integers are accepted. Raises ConfigError: it is not an integer, or below `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ConfigError(f"{name} must be an integer of at least {least}, not {value!r}")
    return number


def seed(value: Any) -> int:
    """The value as a seed. Raises ConfigError: it is not an integer in [0, 2**63)."""
    if whole_number("seed", value, 0) >= 1 << 63:
        raise ConfigError(f"seed must be below 2**63, not {value!r}")
    return operator.index(value)


def one_of(name: str, value: Any, allowed: Iterable[str | None]) -> None:
    """Raises ConfigError: the value is not allowed."""
    if value not in allowed:
        raise ConfigError(f"{name} must be {either(allowed)}, not {value!r}")


def text_or_none(name: str, value: Any, example: str) -> None:
    """Raises ConfigError: the value is neither a string nor None."""
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{name} must be a string such as {example}, or None, not {value!r}")


def names(name: str, values: Any) -> list[str] | None:
    """Sorted distinct names, or None. Raises ConfigError: the value is not a collection of strings."""
    if values is None:
        return None
    if isinstance(values, (str, bytes)):
        raise ConfigError(f"{name} must be a list of strings, not the string {values!r}: write [{values!r}]")
    try:
        listed = list(values)
    except TypeError:
        raise ConfigError(f"{name} must be a list of strings, not {values!r}") from None
    if wrong := [value for value in listed if not isinstance(value, str)]:
        raise ConfigError(f"{name} must be a list of strings, not of {wrong[0]!r}")
    return sorted(set(listed))


def view(value: Any) -> View:
    """The value as a view. Raises ConfigError: it is not a view, or a class instead of an instance."""
    if isinstance(value, type):
        raise ConfigError(f"view must be an instance, not the class {value.__name__}: write {value.__name__}(…)")
    if missing := [name for name in _VIEW_ATTRIBUTES if not hasattr(value, name)]:
        raise ConfigError(f"view must be a view such as Pairs(2), not {value!r}, which has no {missing[0]!r}")
    checked: View = value
    return checked


def shuffle(value: Any, modes: Iterable[str]) -> str | None:
    """The shuffle mode; None for True, which means the default of the dataset, and `"none"` for False.

    Raises:
        ConfigError: the mode is unknown
    """
    if value is True or value is None:
        return None
    chosen = "none" if value is False else value
    if not isinstance(chosen, str) or chosen not in modes:
        raise ConfigError(f"shuffle must be one of {', '.join(modes)}, True or False, not {value!r}")
    return chosen


def world(value: Any) -> World:
    """The value as a World. Raises ConfigError: it is not one."""
    if not isinstance(value, World):
        raise ConfigError(f"world must be World(rank, size), not {value!r}")
    return value


def path(name: str, value: Any) -> None:
    """Raises ConfigError: the value is neither a path nor a string."""
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"{name} must be a path, or a URL where supported, not {value!r}")


def device(value: Any) -> torch.device:
    """The value as a torch device. Raises ConfigError: it is not available here."""
    try:
        chosen = torch.device(value)
    except (RuntimeError, TypeError):
        raise ConfigError(f"device must be a torch device such as 'cpu', 'cuda' or 'cuda:1', not {value!r}") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device is {value!r}, but CUDA is not available on this machine")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device is {value!r}, but this machine has {torch.cuda.device_count()} CUDA devices")
    if chosen.type not in ("cpu", "cuda"):
        _check_present(chosen, value)
    return chosen


def _check_present(chosen: torch.device, value: Any) -> None:
    """Raises ConfigError: torch knows this type of device, but it cannot be used on this machine."""
    try:
        torch.empty(1, device=chosen).cpu()
    except (RuntimeError, AssertionError, ImportError):  # which of them depends on the backend
        raise ConfigError(f"device is {value!r}, which is not available on this machine") from None
