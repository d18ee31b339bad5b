"""Atomic file writes: write to a temporary name in the dataset's work directory, fsync, then rename."""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from motionshards.schemas.layout import WORK_DIR


def sync(path: Path) -> None:
    """Flush a file, or the entries of a directory, to disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Add the file name to an OSError: the system only sets it when opening a file fails."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def replacing(out: Path, target: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `target` on a clean exit and removed on an exception.

    If nothing was written, `target` is not created. The temporary name contains host and process id, so two workers on the
    same unit do not collide.
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
    """Like `replacing`, for files outside a dataset: the temporary file is in the same directory, and nothing is fsynced."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(out: Path, target: Path, content: bytes) -> None:
    """Write a small file atomically."""
    with replacing(out, target) as temporary, naming_errors(temporary):
        temporary.write_bytes(content)
