"""Locks on files that others may unlink or replace at any moment, and files that are written whole before they get their name.

A lock is flock on the file itself: the kernel drops it when its process dies, so nothing is ever left locked, and what is found
unlocked has no owner. A lock belongs to the open file, which a fork shares; hence `let_go` unlocks before it closes, or a child
would keep the lock.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED, ALONE, ALONE_OR_NOT = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_EX | fcntl.LOCK_NB
_OURS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


def take(path: Path, lock: int, make: bool = False) -> int | None:
    """Open and lock the file that stands at `path`, or make one; None where ALONE_OR_NOT finds it locked.

    Raises:
        FileNotFoundError: there is none, or with `make` no directory for it
    """
    while True:
        descriptor = os.open(path, _OURS if make else os.O_RDONLY | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, lock)
            if stands_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            let_go(descriptor)
            raise
        let_go(descriptor)  # unlinked or replaced between opening and locking


def let_go(descriptor: int) -> None:
    """Unlock and close."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


@contextmanager
def alone(path: Path, brief: bool = False) -> Iterator[None]:
    """Lock the file at `path`, made with its directory if need be, while the block runs. A `brief` one goes with the lock."""
    descriptor = None
    while descriptor is None:
        try:
            descriptor = take(path, ALONE, make=True)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if brief and stands_at(descriptor, path):
            path.unlink(missing_ok=True)
        let_go(descriptor)


def unlink_unless_locked(path: Path) -> bool:
    """Remove a file that nobody has locked. False where somebody has; True also where it is gone already."""
    try:
        descriptor = take(path, ALONE_OR_NOT)
        if descriptor is None:
            return False
        path.unlink()
        let_go(descriptor)
    except FileNotFoundError:
        return True
    return True


def reserve(descriptor: int, size: int) -> None:
    """Empty a file and have room on the disk for `size` bytes of it. Raises OSError (ENOSPC, EDQUOT) where there is none."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    if size:
        os.posix_fallocate(descriptor, 0, size)


def stands_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
