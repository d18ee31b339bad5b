"""Turn out-of-memory errors into SIGKILL, since the runners recover from killed workers."""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kill_if_out_of_memory() -> Iterator[None]:
    """Kill this process if the body runs out of memory; its clips in flight become suspects.

    Python raises MemoryError, or RuntimeError if a thread's stack cannot be allocated; system calls raise OSError, and Arrow
    an OSError without errno but with its message.
    """
    try:
        yield
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        os.kill(os.getpid(), signal.SIGKILL)
    except OSError as error:
        if error.errno != errno.ENOMEM and os.strerror(errno.ENOMEM) not in str(error):
            raise
        os.kill(os.getpid(), signal.SIGKILL)
