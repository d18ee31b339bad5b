"""Samples of a tar, read sequentially from a file or a stream."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.layout import META
from motionshards.schemas.regular_file import open_regular

Members: TypeAlias = dict[str, bytes]


def samples_of(tar: str | Path | BinaryIO) -> Iterator[tuple[str, Members]]:
    """Yield key and members of each sample of a tar as soon as it is complete. Raises Unreadable."""
    if isinstance(tar, (str, Path)):
        try:
            with open_regular(Path(tar)) as stream:
                yield from samples_of(stream)
        except OSError as error:
            raise Unreadable("missing", f"{tar}: {error.strerror}") from error
        return
    shown = str(getattr(tar, "name", "a stream"))
    tail = _Tail(tar)
    key, members = "", Members()
    try:
        with tarfile.open(fileobj=tail, mode="r|") as archive:
            while (member := _next_member(archive, shown)) is not None:
                whose, _, suffix = member[0].partition(".")  # keys contain no dots
                if whose != key:
                    key, members = whose, Members()
                members[suffix] = member[1]
                if suffix == META:
                    yield key, members
                    members = Members()
    except (tarfile.TarError, OSError) as error:
        raise Unreadable("truncated", f"{shown}: {error}") from error
    while tail.read(1 << 20):
        pass  # read to the end: a tar that was cut between two members lacks the final blocks of zeros
    if tail.last != bytes(tarfile.BLOCKSIZE):
        raise Unreadable("truncated", f"{shown} has no end-of-archive marker")


def _next_member(archive: tarfile.TarFile, shown: str) -> tuple[str, bytes] | None:
    """Name and content of the next file of a tar; None at its end. Raises Unreadable."""
    try:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # TarFile would keep all of them in memory
            if info.issparse():  # can expand to any size
                raise Unreadable("damaged", f"{shown}: {info.name} is a sparse file")
            if info.isreg() and (content := archive.extractfile(info)) is not None:
                return info.name, content.read()
            if not info.isdir():
                return info.name, b""  # links and devices have no content, so the clip becomes a fault
    except (Unreadable, tarfile.TarError, OSError):
        raise
    except Exception as error:  # tarfile raises all kinds of exceptions for malformed headers
        raise Unreadable("damaged", f"{shown}: not a tar: {error}") from error
    return None


class _Tail(io.RawIOBase):
    """A stream that remembers the last block that was read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.last = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self.last = (self.last + content)[-tarfile.BLOCKSIZE :]
        return content
