"""One writer at a time in a directory: a lock on a file in it, which the kernel drops when the process ends.

Of a file and not of the directory itself, which cannot be locked over NFS. The file tells who holds the lock. It goes with its
holder, so who has got the lock looks whether what was locked is still the file that is there.
"""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import LOCK

logger = logging.getLogger("motionshards")

_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


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
                f"another build is running on {path.parent}, or a download, a removal or a training{told}"
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
