"""Peak memory, CPU time and written bytes of a command and its descendants, read from /proc while it runs."""

import os
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import peak_mib
from motionshards.pipeline.runners.worker_client import NAME

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_ROLES = {
    "extract.decoder.server": "decoder",
    "spawn_main": "worker",
    "motionshards.pipeline.runners.local_child": "Beam driver",
    "dataset.build": "command",
}


@dataclass(frozen=True, slots=True)
class _Process:
    """Fields of /proc/PID/stat: parent, and CPU seconds of the process and of the children it has waited for."""

    pid: int
    parent: int
    own_s: float
    children_s: float


class Watch:
    """Samples the tree below a process until the block ends.

    Activity of a process in the last `interval_s` of its life is missed. Processes are grouped by role, which is derived from
    the command line: worker, decoder, Beam driver, command, other.
    """

    def __init__(self, pid: int, interval_s: float) -> None:
        self._pid, self._interval_s = pid, interval_s
        self._own_s: dict[int, float] = {}
        self._waited_s: dict[int, float] = {}
        self._written: dict[int, int] = {}
        self.peaks_mib: dict[str, float] = defaultdict(float)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._machine_s = -busy_s()
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()
        self._machine_s += busy_s()

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all processes of the tree."""
        return sum(self._own_s.values()) + sum(self._waited_s.values())

    @property
    def written_bytes(self) -> int:
        """Bytes that the processes of the tree wrote to disk; files in memory do not count."""
        return sum(self._written.values())

    @property
    def others_s(self) -> float:
        """CPU seconds used by everything else on the machine, including its host (steal)."""
        return max(0.0, self._machine_s - self.cpu_s)

    def _run(self) -> None:
        while not self._over.wait(self._interval_s):
            for process in _tree(self._pid):
                self._note(process)

    def _note(self, process: _Process) -> None:
        """Record a process. Decoders, often too short-lived to be sampled, count through their server, which waits for them."""
        role = _role(process.pid)
        self._written[process.pid] = max(self._written.get(process.pid, 0), _written(process.pid))
        self.peaks_mib[role] = max(self.peaks_mib[role], peak_mib(process.pid))
        if role != "decoder" or _role(process.parent) != "decoder":
            self._own_s[process.pid] = process.own_s
            self._waited_s[process.pid] = process.children_s if role in ("worker", "decoder") else 0.0


def busy_s() -> float:
    """CPU seconds of the whole machine since boot, without idle and I/O wait."""
    user, nice, system, _idle, _wait, *others = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    return sum(map(int, (user, nice, system, *others))) * _TICK_S


def decoders_s(pid: int) -> float:
    """CPU seconds of the decoder server below a process and of its decoders, which must exit soon."""
    for process in _tree(pid):
        if process.parent == pid and _role(process.pid) == "decoder":
            while Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text():
                time.sleep(0.001)
            now = _process(str(process.pid))
            return 0.0 if now is None else now.own_s + now.children_s
    return 0.0


def _tree(pid: int) -> list[_Process]:
    """The process and all its descendants."""
    processes = [found for entry in os.listdir("/proc") if entry.isdigit() and (found := _process(entry))]
    children = defaultdict(list)
    for process in processes:
        children[process.parent].append(process)
    tree = [process for process in processes if process.pid == pid]
    for process in tree:  # grows during iteration
        tree += children[process.pid]
    return tree


def _process(pid: str) -> _Process | None:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user, system, children_user, children_system = (int(ticks) * _TICK_S for ticks in fields[11:15])
        return _Process(int(pid), int(fields[1]), user + system, children_user + children_system)
    return None


def _written(pid: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        return int(dict(line.split(": ") for line in lines)["write_bytes"])
    return 0


def _role(pid: int) -> str:
    with suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text().strip() == NAME:
            return "worker"
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return next((role for mark, role in _ROLES.items() if any(mark in word for word in words)), "other")
    return "other"
