"""Record the progress of a local run over time, and the CPU time of its processes."""

import os
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.runners.local import Progress

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# Scanning all processes of a large machine takes tens of milliseconds.
_LOOK_EVERY_S = 1.0


class Meter:
    """A progress that records all updates and forwards them.

    trace: (seconds since the epoch, clips done) of each update
    """

    def __init__(self, clips: int, shown: Progress) -> None:
        self._clips, self._shown = clips, shown
        self.trace: list[tuple[float, int]] = []
        self._cpu: list[tuple[int, float]] = []  # clips done, and CPU seconds by then
        self._cpu_s, self._last_s, self._looked = 0.0, 0.0, 0.0

    def update(self, clips: int) -> None:
        """Report that `clips` clips are done."""
        first = clips > 0 and not any(done for _, done in self.trace[-1:])
        self.trace.append((time.time(), clips))
        if first or clips >= self._clips or time.monotonic() - self._looked > _LOOK_EVERY_S:
            self._look(clips)
        self._shown.update(clips)

    @property
    def first_s(self) -> float | None:
        """Time of the first finished clip, in seconds since the epoch; None if not reported."""
        return next((when for when, done in self.trace if done), None)

    def steps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The progress curve: seconds since the epoch, float64 [m], and clips done, float64 [m], non-decreasing."""
        times, done = np.array(self.trace, np.float64).reshape(-1, 2).T
        return times, np.maximum.accumulate(done)

    def cpu_s_per_clip(self) -> float | None:
        """CPU seconds per clip of all descendant processes, excluding start-up; None if not measured.

        If most clips were done by the first measurement during work, the one before it is used, which includes start-up.
        """
        looks = [look for look in self._cpu if look[0]]
        if not looks:
            return None
        done, seconds = looks[-1]
        idle = [look for look in self._cpu if not look[0]]
        late = 2 * looks[0][0] > done or looks[0][1] >= seconds  # the CPU time of ended processes is lost
        first, start_cpu_s = idle[-1] if idle and late else looks[0]
        return (seconds - start_cpu_s) / (done - first) if done > first and seconds > start_cpu_s else None

    def _look(self, clips: int) -> None:
        """Measure the CPU time. Only increases count, since the time of killed processes disappears from the total."""
        seconds = cpu_s_below(os.getpid())
        self._cpu_s += max(0.0, seconds - self._last_s)
        self._last_s, self._looked = seconds, time.monotonic()
        self._cpu.append((clips, self._cpu_s))


def cpu_s_below(pid: int) -> float:
    """CPU seconds of the descendants of a process, including their reaped children."""
    children: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError):  # the process has just ended
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                children[int(fields[1])].append((int(name), sum(map(int, fields[11:15])) * _TICK_S))
    waiting, total = [pid], 0.0
    while waiting:
        for child, seconds in children[waiting.pop()]:
            waiting.append(child)
            total += seconds
    return total
