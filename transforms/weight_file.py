"""Loads untrusted weight files, in bounded memory and with one-line errors.

They are read with `weights_only=True`: they can contain tensors and plain values, and cannot execute code.
"""

import mmap
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from motionshards.schemas.errors import ConfigError, one_line
from motionshards.schemas.regular_file import open_regular

MAX_BEYOND_BYTES = 1 << 28
"""How much larger than the file its unpacked content may be; torch itself does not compress."""
_SCALARS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
# A file can make torch's unpickler call `bytearray(10**12)`; no state of a network contains a bytearray.
_ALLOCATES = b"bytearray\n"


class _ScalarType:
    """Replaces `numpy.dtype` while a file is read: accepts number types only, and keeps files from numpy's parser."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in _SCALARS:
            raise ValueError(f"numpy scalars of type {code!r} are not supported")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _scalar(kind: _ScalarType, content: bytes) -> Any:
    """Replaces numpy's constructor of scalars; returns a plain Python number."""
    return np.frombuffer(content, kind.order + kind.code, count=1)[0].item()


_ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    _ScalarType,
    (_ScalarType, "numpy.dtype"),
    (_scalar, "numpy._core.multiarray.scalar"),
    (_scalar, "numpy.core.multiarray.scalar"),
]


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Load a file written by `torch.save`, zip or legacy format; numpy scalars become plain numbers.

    Raises:
        ConfigError: the file is missing or damaged, or contains more than tensors and plain values
    """
    try:
        with open_regular(path) as stream:
            size = stream.seek(0, 2)
            _check_parts(stream, size)
            stream.seek(0)
            with torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about unusual protocols, whose failures are reported anyway
                content = torch.load(stream, map_location=device, weights_only=True)
            if (stored := stored_bytes(content)) > size + MAX_BEYOND_BYTES:
                raise ValueError(f"its tensors declare {stored:,} bytes, but the file has {size:,}")
    except FileNotFoundError as error:
        raise ConfigError(f"checkpoint not found: {path}") from error
    except IsADirectoryError as error:
        files = sorted(path.glob("*.pt"), key=lambda file: file.name != "last.pt")
        raise ConfigError(f"{path} is a directory{f'; did you mean {files[0]}?' if files else ', not a checkpoint'}") from error
    except Exception as error:  # torch's unpickler can raise anything for bytes that are not a pickle
        raise ConfigError(f"{path} cannot be read as a checkpoint: {_reason(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not a checkpoint: it contains a {type(content).__name__}")
    return {str(name): value for name, value in content.items()}


def _reason(error: Exception) -> str:
    """The cause, without torch's advice to load such files with `weights_only=False`."""
    text = one_line(error)
    return (text.partition("WeightsUnpickler error: ")[2] or text).partition(" Check the documentation of torch.load")[0]


def _check_parts(stream: BinaryIO, size: int) -> None:
    """Raise ValueError for a file that would unpack, or allocate, far more than its own size."""
    if not zipfile.is_zipfile(stream):
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            allocates = content.find(_ALLOCATES) >= 0
    else:
        with zipfile.ZipFile(stream) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > size + MAX_BEYOND_BYTES:
                raise ValueError(f"it unpacks to {unpacked:,} bytes, but the file has {size:,}")
            allocates = any(_ALLOCATES in archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    if allocates:
        raise ValueError("it contains a bytearray")


def stored_bytes(content: Any) -> int:
    """Total size of the storages of all tensors in nested dicts, lists and tuples; shared storages count once."""
    storages: dict[int, int] = {}
    seen: set[int] = set()
    left = [content]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor) and value.layout == torch.strided:
            storage = value.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
        elif isinstance(value, (dict, list, tuple)):
            left += value.values() if isinstance(value, dict) else value
    return sum(storages.values())
