"""Input files of the decoder."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder.limits import MEMORY_BYTES

if TYPE_CHECKING:
    from motionshards.transforms.extract.decoder.client import Decoder


@dataclass(frozen=True, slots=True)
class Media:
    """A video file, on disk or in memory.

    path: path to open
    name: name in messages, without directories, because the output must not depend on the location of the input
    memory_bytes: memory limit of a decoder for the file
    decoder: the decoder for all orders; None starts a new one for each
    """

    path: str
    name: str
    memory_bytes: int = MEMORY_BYTES
    decoder: "Decoder | None" = field(default=None, compare=False, repr=False)

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> "Media":
        """The file at a path."""
        return cls(os.fspath(path), os.path.basename(path))

    @classmethod
    def of_descriptor(cls, descriptor: int, name: str) -> "Media":
        """An open file without a path, such as one made by memfd_create."""
        return cls(f"/dev/fd/{descriptor}", name)


@contextmanager
def in_memory(name: str, pieces: Sequence[bytes | memoryview]) -> Iterator[Media]:
    """A file in memory with the concatenated pieces."""
    descriptor = os.memfd_create(name)
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.writelines(pieces)
        yield Media.of_descriptor(descriptor, name)
    finally:
        os.close(descriptor)


def check_file(path: str) -> None:
    """Raise ClipRejected unless the path is a readable, regular, non-empty file."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ClipRejected("not_a_file", os.path.basename(path))
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ClipRejected("unreadable", error.strerror or str(error)) from error
    if status.st_size == 0:
        raise ClipRejected("empty_file")
