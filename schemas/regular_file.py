"""Open files of untrusted origin: a pipe or device in place of a file must not block the reader or feed it endlessly."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def _without_waiting(path: str, flags: int) -> int:
    """Without O_NONBLOCK, opening a pipe waits for a writer; regular files ignore the flag."""
    return os.open(path, flags | os.O_NONBLOCK)


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a regular file, or a link to one, for reading.

    Raises:
        OSError: the file cannot be opened, or is a directory, pipe, socket or device
    """
    stream = open(path, "rb", buffering=buffering, opener=_without_waiting)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return stream
