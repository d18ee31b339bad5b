"""Directories that a command writes into: new, empty or its own from before, and with one writer at a time.

The lock is on a file in the directory, not on the directory itself, which cannot be locked over NFS; the kernel drops it when
the process ends. The file says who holds it. It is removed with its holder, so whoever gets the lock checks that the locked
file is still the one that is there.
"""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import LOCK, WORK_DIR

logger = logging.getLogger("motionshards")

_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def refuse_strangers(out: Path, what: str, own: Sequence[str] = ()) -> None:
    """Refuse a directory with other things in it: a typo should not mix output into a home directory.

    what: this command writes, for the message
    own: patterns of the names that it writes itself, which may be there

    Raises:
        ConfigError: there is something else, or `out` is no directory
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"--output {out} cannot be written: it is not a directory")
    allowed = (WORK_DIR, LOCK, *own)
    strangers = sorted(entry.name for entry in out.iterdir() if not any(fnmatchcase(entry.name, name) for name in allowed))
    if strangers:
        raise ConfigError(f"--output {out} is not empty and holds no {what} (there is {strangers[0]!r})")


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold the lock of an output directory, which must be there.

    Raises:
        ConfigError: another command that writes holds it; on what machine and as which process
    """
    path = out / LOCK
    descriptor = _locked(path)
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        with suppress(OSError):  # a disk that no longer takes writes; what went wrong with it is being told
            path.unlink()
        os.close(descriptor)


def _locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 1000, 0).decode(errors="replace").strip()
            os.close(descriptor)
            told = f" ({owner})" if owner else ""
            raise ConfigError(
                f"another build is running on {path.parent}, or a download, an export, a removal or a training{told}"
            ) from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                os.close(descriptor)
                raise
            logger.warning("%s lies on a disk without locks: see to it that nothing else writes there", path.parent)
        if _is_there(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is_there(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one at `path`: the last holder may have taken it away before we got the lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
