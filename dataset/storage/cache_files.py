"""Locks on files that other processes may unlink or replace at any moment.

A lock is flock on the file itself: the kernel releases it when its process dies, so there are no stale locks, and an unlocked
file has no owner. A lock belongs to the open file description, which forks share; `release` therefore unlocks before closing, or
a child would keep the lock.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED, EXCLUSIVE, EXCLUSIVE_NONBLOCKING = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_EX | fcntl.LOCK_NB
_CREATE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


def open_locked(path: Path, lock: int, create: bool = False) -> int | None:
    """Open and lock the file at `path`; returns its descriptor, or None if it is locked and `lock` is EXCLUSIVE_NONBLOCKING.

    create: create the file if it does not exist

    Raises:
        FileNotFoundError: there is no such file or, with `create`, no directory for it
    """
    while True:
        descriptor = os.open(path, _CREATE if create else os.O_RDONLY | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, lock)
            if is_file_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            release(descriptor)
            raise
        release(descriptor)  # unlinked or replaced between opening and locking


def release(descriptor: int) -> None:
    """Unlock and close."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


@contextmanager
def exclusive_lock(path: Path, temporary: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on the file at `path` within the block; creates file and directory.

    temporary: remove the file at the end
    """
    descriptor = None
    while descriptor is None:
        try:
            descriptor = open_locked(path, EXCLUSIVE, create=True)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if temporary and is_file_at(descriptor, path):
            path.unlink(missing_ok=True)
        release(descriptor)


def unlink_unless_locked(path: Path) -> bool:
    """Remove a file unless it is locked; returns False if it is locked, True if it is gone."""
    try:
        descriptor = open_locked(path, EXCLUSIVE_NONBLOCKING)
        if descriptor is None:
            return False
        path.unlink()
        release(descriptor)
    except FileNotFoundError:
        return True
    return True


def reserve(descriptor: int, size: int) -> None:
    """Truncate a file and allocate `size` bytes of disk space for it. Raises OSError (ENOSPC, EDQUOT): the disk is full."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    if size:
        os.posix_fallocate(descriptor, 0, size)


def is_file_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
