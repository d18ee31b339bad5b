"""A process that has run out of memory ends as if the kernel had killed it, for that is what its drivers know how to mend."""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def killed_without_memory() -> Iterator[None]:
    """Kill this process when memory runs out within; the clips that it had in hand become suspects.

    Python says so by MemoryError, or by RuntimeError when there is none for a thread's stack, the system by an OSError, and Arrow
    by one whose number is lost and whose words are not.
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
