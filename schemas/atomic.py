"""Files that are whole or absent: written to a temporary name in the data set's work folder, synced, then renamed."""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from motionshards.schemas.layout import WORK_DIR


def sync(path: Path) -> None:
    """Have a file, or the names in a directory, on disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have a failure to write tell the file: the system tells it only where one is opened."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def replacing(out: Path, target: Path) -> Iterator[Path]:
    """Give a temporary path; on a clean exit what was written there becomes `target`, else it is removed.

    Where nothing was written, nothing appears. The temporary name tells host and process, so that two workers on the same
    unit do not meet.
    """
    work = out / WORK_DIR
    work.mkdir(parents=True, exist_ok=True)
    temporary = work / f"{target.name}.{socket.gethostname()}.{os.getpid()}.tmp"
    try:
        yield temporary
        if not temporary.exists():
            return
        sync(temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """The same for a file that is no part of a data set: the temporary one lies beside it, and nothing is synced."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(out: Path, target: Path, content: bytes) -> None:
    """Write a small file whole or not at all."""
    with replacing(out, target) as temporary, naming(temporary):
        temporary.write_bytes(content)
