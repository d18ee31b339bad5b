"""One writer at a time in a directory: a lock on the directory itself, which the kernel drops when the process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ConfigError


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold the lock of an output directory. Raises ConfigError where another command that writes holds it."""
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ConfigError(f"another build is running on {out}, or a download, a removal or a training") from None
    try:
        yield
    finally:
        os.close(descriptor)
