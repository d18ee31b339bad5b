"""Watches a run of the local workers: how many clips were finished when, and what the processes computed meanwhile."""

import os
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.runners.local import Progress

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# Looking at all processes of a large machine takes some tens of milliseconds.
_LOOK_EVERY_S = 1.0


class Meter:
    """A progress that remembers, and passes on what it is told.

    trace: (seconds since 1970, clips done) each time that it was told
    """

    def __init__(self, clips: int, shown: Progress) -> None:
        self._clips, self._shown = clips, shown
        self.trace: list[tuple[float, int]] = []
        self._cpu: list[tuple[int, float]] = []  # clips done, and CPU seconds by then
        self._cpu_s, self._last_s, self._looked = 0.0, 0.0, 0.0

    def update(self, clips: int) -> None:
        """`clips` are done."""
        first = clips > 0 and not any(done for _, done in self.trace[-1:])
        self.trace.append((time.time(), clips))
        if first or clips >= self._clips or time.monotonic() - self._looked > _LOOK_EVERY_S:
            self._look(clips)
        self._shown.update(clips)

    @property
    def first_s(self) -> float | None:
        """When the first clips were done, in seconds since 1970; None where that was not told."""
        return next((when for when, done in self.trace if done), None)

    def steps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """When (float64 [m], seconds since 1970) how many clips were done (float64 [m], never falling)."""
        times, done = np.array(self.trace, np.float64).reshape(-1, 2).T
        return times, np.maximum.accumulate(done)

    def cpu_s_a_clip(self) -> float | None:
        """CPU seconds of all processes below this one for a clip, once work had begun; None where it was not seen.

        Where most clips were done by the first look at working processes, the look before counts, though start-up is then in it.
        """
        looks = [look for look in self._cpu if look[0]]
        if not looks:
            return None
        done, seconds = looks[-1]
        idle = [look for look in self._cpu if not look[0]]
        late = 2 * looks[0][0] > done or looks[0][1] >= seconds  # a process that ended takes its time with it
        first, begun_s = idle[-1] if idle and late else looks[0]
        return (seconds - begun_s) / (done - first) if done > first and seconds > begun_s else None

    def _look(self, clips: int) -> None:
        """Processes that were killed take their time with them, so only what is added counts."""
        seconds = cpu_s_below(os.getpid())
        self._cpu_s += max(0.0, seconds - self._last_s)
        self._last_s, self._looked = seconds, time.monotonic()
        self._cpu.append((clips, self._cpu_s))


def cpu_s_below(pid: int) -> float:
    """CPU seconds of the descendants of a process, with those of their children that have ended."""
    children: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError):  # it ended just now
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                children[int(fields[1])].append((int(name), sum(map(int, fields[11:15])) * _TICK_S))
    waiting, total = [pid], 0.0
    while waiting:
        for child, seconds in children[waiting.pop()]:
            waiting.append(child)
            total += seconds
    return total
