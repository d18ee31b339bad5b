"""Anonymous shared memory, by memfd: containers limit /dev/shm to 64 MB."""

import mmap
import os
import weakref
from collections.abc import Callable


class SharedMemory:
    """A block of anonymous memory. Other processes open it by its file descriptor, which they must inherit."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.block = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        self.close: Callable[[], None] = weakref.finalize(self, os.close, descriptor)
        """Close the descriptor; the memory is freed when nothing refers to it any more."""

    @classmethod
    def of_size(cls, size: int) -> "SharedMemory":
        """A new block of `size` bytes."""
        descriptor = os.memfd_create("motionshards")
        os.ftruncate(descriptor, max(size, 1))
        return cls(descriptor)
