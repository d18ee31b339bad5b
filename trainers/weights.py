"""Weight files that anyone may have written: read in bounded memory, told in one line, and states as the networks here name them.

They are read with `weights_only=True`: a file from elsewhere can hold tensors and plain values and can do nothing.

MOST_BEYOND_BYTES: so much larger than the file may its parts be once unpacked; torch itself does not compress them
"""

import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionshards.schemas.errors import ConfigError, one_line
from motionshards.schemas.regular_file import open_regular

MOST_BEYOND_BYTES = 1 << 28
_SCALARS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
_WRAPPERS = re.compile(r"^(?:module\.)+|_orig_mod\.")
_COUNTER = "num_batches_tracked"


class _ScalarType:
    """Stands for `numpy.dtype` while a file is read: takes the types of numbers, and lets no file reach numpy's own parser."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in _SCALARS:
            raise ValueError(f"numpy scalars of type {code!r} are not read")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _scalar(kind: _ScalarType, content: bytes) -> Any:
    """Stands for numpy's constructor of scalars; gives the plain Python number."""
    return np.frombuffer(content, kind.order + kind.code, count=1)[0].item()


_ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    _ScalarType,
    (_ScalarType, "numpy.dtype"),
    (_scalar, "numpy._core.multiarray.scalar"),
    (_scalar, "numpy.core.multiarray.scalar"),
]


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The content of a file of `torch.save`, zip or legacy; numpy scalars become plain numbers.

    Raises:
        ConfigError: there is none, it is damaged, or it holds more than tensors and plain values
    """
    try:
        with open_regular(path) as stream:
            _check_unpacked_size(path, stream.seek(0, 2))
            stream.seek(0)
            with torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd protocols; what comes of them is reported
                content = torch.load(stream, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no checkpoint {path}") from error
    except Exception as error:  # torch's unpickler raises whatever comes of bytes that are no pickle
        raise ConfigError(f"{path} cannot be read as a checkpoint: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is no checkpoint: it holds a {type(content).__name__}")
    return {str(name): value for name, value in content.items()}


def _check_unpacked_size(path: Path, size: int) -> None:
    """Raise ValueError for an archive that is made to unpack to far more than its own size."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > size + MOST_BEYOND_BYTES:
            raise ValueError(f"it unpacks to {unpacked:,} bytes, and has {size:,}")


def networks_of(content: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with its networks by name, also where Lightning keeps them: one flat `state_dict` of `NAME.KEY`."""
    inner = content.get("state_dict")
    if any(name in content for name in names) or not isinstance(inner, Mapping):
        return dict(content)
    flat = plain_state(inner)
    nested = {name: _renamed(flat, f"^{re.escape(name)}\\.", only=True) for name in names}
    found = {name: inner.get(name) or nested[name] for name in names}
    return {**content, **{name: state for name, state in found.items() if state}}


def plain_state(state: Any, wanted: Mapping[str, Any] | None = None) -> Any:
    """A network's state without the prefixes of DataParallel (`module.`) and torch.compile (`_orig_mod.`).

    wanted: the state of the network that is to be filled; counters of batch norms that were not saved, as by torch before 0.4.1,
        are taken from it
    """
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        return state
    own = wanted or {}
    plain = state if own and own.keys() <= state.keys() else _renamed(state, _WRAPPERS)
    counters = {name: value for name, value in own.items() if name.endswith(_COUNTER) and name not in plain}
    if counters:
        plain = _renamed(plain, "^$")  # a copy
        plain.update(counters)
    return plain


def _renamed(state: Mapping[Any, Any], prefix: str | re.Pattern[str], only: bool = False) -> OrderedDict[str, Any]:
    """A state without a prefix of its names and of those of its modules in `_metadata`, by which networks tell their version.

    only: leave out what does not have the prefix
    """
    found: OrderedDict[str, Any] = OrderedDict(
        (re.sub(prefix, "", str(name)), value) for name, value in state.items() if not only or re.match(prefix, str(name))
    )
    metadata = getattr(state, "_metadata", None)
    if isinstance(metadata, dict):
        modules = {f"{name}.": value for name, value in metadata.items() if not only or re.match(prefix, f"{name}.")}
        found._metadata = {re.sub(prefix, "", name).rstrip("."): value for name, value in modules.items()}  # type: ignore[attr-defined]
    return found
