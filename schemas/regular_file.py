"""Opening files that somebody else has put there: a pipe or a device of that name must not hang or feed the reader for ever."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def _without_waiting(path: str, flags: int) -> int:
    """Without O_NONBLOCK, opening a pipe waits for somebody who writes into it; regular files do not mind."""
    return os.open(path, flags | os.O_NONBLOCK)


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """A regular file, or a link to one, open for reading.

    Raises:
        OSError: it cannot be opened, or is a directory, pipe, socket or device
    """
    stream = open(path, "rb", buffering=buffering, opener=_without_waiting)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return stream
