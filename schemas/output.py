"""Checks of output directories: no foreign files, and one writer at a time.

The lock is held on a file in the directory, since directories cannot be locked over NFS; the kernel releases it when the
process ends. The file names its holder, who removes it at the end. After acquiring the lock a process therefore checks that
the locked file is still the one in the directory.
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


def refuse_foreign_files(out: Path, what: str, own: Sequence[str] = ()) -> None:
    """Refuse a directory with unrelated files, so that a typo does not mix output into a home directory.

    what: kind of output that the command writes, for the message
    own: glob patterns of names that the command writes itself, which are accepted

    Raises:
        ConfigError: there are unrelated files, or `out` is not a directory
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"--output {out} cannot be written: it is not a directory")
    allowed = (WORK_DIR, LOCK, *own)
    foreign = sorted(entry.name for entry in out.iterdir() if not any(fnmatchcase(entry.name, name) for name in allowed))
    if foreign:
        raise ConfigError(f"--output {out} is not empty and holds no {what} (found {foreign[0]!r})")


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold the lock of an output directory, which must exist.

    Raises:
        ConfigError: another command is writing to it; the message names the machine and process
    """
    path = out / LOCK
    descriptor = _locked(path)
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        with suppress(OSError):  # the disk may have failed; the original error is already being reported
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
            holder = f" ({owner})" if owner else ""
            raise ConfigError(
                f"another build, removal, download, export or training is writing to {path.parent}{holder}"
            ) from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                os.close(descriptor)
                raise
            logger.warning("%s is on a file system without locks: make sure that nothing else writes there", path.parent)
        if _is_there(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is_there(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one at `path`: the previous holder may have removed it before we got the lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
