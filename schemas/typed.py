"""Runtime check of dataclass fields against their annotations, for values that come from JSON."""

import dataclasses
import functools
import math
import types
import typing
from typing import Any

_LARGEST_INT = 2**63 - 1


def check_types(record: Any) -> None:
    """Check the fields of a dataclass instance. Integers must fit in 64 bits and floats must not be NaN.

    Raises:
        ValueError: the type of a field does not match its annotation
    """
    for name, expected in _annotations(type(record)).items():  # type: ignore[arg-type]  # mypy: Any could be unhashable
        if not _is(value := getattr(record, name), expected):
            raise ValueError(f"{name} is {repr(value)[:100]}, must be {_named(expected)}")


@functools.cache
def _annotations(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _named(expected: Any) -> str:
    if typing.get_origin(expected) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(expected)))}"
    return getattr(expected, "__name__", str(expected))


def _is(value: Any, expected: Any) -> bool:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if expected is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_is(value, one) for one in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(one, arguments[0]) for one in value)
    if origin is dict:
        of_key, of_value = arguments
        return isinstance(value, dict) and all(_is(key, of_key) and _is(one, of_value) for key, one in value.items())
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_INT
    return value in arguments if origin is typing.Literal else isinstance(value, origin or expected)
