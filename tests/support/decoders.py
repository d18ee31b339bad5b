"""The decoder processes of this process."""

import os
import time

import psutil


def decoders(count: int) -> list[psutil.Process]:
    """The forked decoder processes, as soon as there are enough, or after several seconds."""
    found: list[psutil.Process] = []
    for _ in range(100):
        found = [one for one in psutil.Process().children(recursive=True) if _is_forked(one)]
        if len(found) == count:
            break
        time.sleep(0.05)
    return found


def _is_forked(process: psutil.Process) -> bool:
    try:
        return process.ppid() != os.getpid()
    except psutil.NoSuchProcess:
        return False
