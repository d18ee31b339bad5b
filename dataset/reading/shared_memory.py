"""Anonymous memory that processes share.

It is memfd, not /dev/shm, which containers keep at 64 MB.
"""

import mmap
import os
import weakref
from collections.abc import Callable


class Shared:
    """A block of anonymous memory. Another process opens it by its file descriptor, which it must inherit."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.block = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        self.close: Callable[[], None] = weakref.finalize(self, os.close, descriptor)
        """Closes the descriptor; the memory goes when nothing refers to it any more."""

    @classmethod
    def of_size(cls, size: int) -> "Shared":
        """A new block."""
        descriptor = os.memfd_create("motionshards")
        os.ftruncate(descriptor, max(size, 1))
        return cls(descriptor)
