"""A pool of worker processes that export clips, with recovery from crashes.

A damaged video can crash the library that decodes it. The clip that a worker was reading when it crashed is refused, and another
worker repeats the task without it. If a worker is killed from outside, its task is retried once.
"""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, cast

from motionshards.dataset.export.worker import Finished, Reading, Setup, Task
from motionshards.schemas.errors import BuildFailed

_CRASHES = {-number for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)}

# multiprocessing would import the main program again, which may lack a guard.
_CHILD = "from motionshards.dataset.export.worker import main; main()"


def export_tasks(setup: Setup, tasks: Iterator[Task], workers: int, on_progress: Callable[[int], object]) -> None:
    """Export clips in up to `workers` processes.

    on_progress: called with the number of clips of each finished task

    Raises:
        BuildFailed: a worker died for a reason other than a clip
        MotionShardsError, OSError: an error of a worker, such as a full disk
    """
    again: deque[Task] = deque()
    idle: list[_Worker] = []
    busy: list[_Worker] = []
    try:
        while True:
            while len(busy) < workers and (task := again.popleft() if again else next(tasks, None)):
                busy.append(idle.pop() if idle else _Worker(setup))
                busy[-1].begin(task)
            if not busy:
                return
            for worker in cast(list[_Worker], wait(cast(Any, busy))):
                message = worker.receive()
                if isinstance(message, Finished):
                    _check(message)
                    busy.remove(worker)
                    idle.append(worker)
                    on_progress(len(worker.task.rows))
                elif message is None:
                    busy.remove(worker)
                    again.append(worker.task_after_death())
    finally:
        for worker in [*busy, *idle]:
            worker.end()


def _check(message: Finished) -> None:
    if isinstance(message.error, str):
        raise RuntimeError(f"a worker failed:\n{message.error}")
    if message.error is not None:
        raise message.error


class _Worker:
    """A process that exports clips, and the connection to it."""

    def __init__(self, setup: Setup) -> None:
        self.task = Task("", "", ())
        self._reading: int | None = None
        self._connection, child = Pipe()
        # Pass sys.path on: the main program may have changed it.
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-c", _CHILD, str(child.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[child.fileno()], stdin=subprocess.PIPE, env=environment)
        child.close()
        self._send(setup)

    def fileno(self) -> int:
        """File descriptor of the connection, for `wait`."""
        return self._connection.fileno()

    def begin(self, task: Task) -> None:
        """Start a task."""
        self.task, self._reading = task, None
        self._send(task)

    def receive(self) -> Reading | Finished | None:
        """The next message; None if the process has died."""
        try:
            message: Reading | Finished = self._connection.recv()
        except (EOFError, OSError):  # also in the middle of a message
            return None
        if isinstance(message, Reading):
            self._reading = message.number
        return message

    def task_after_death(self) -> Task:
        """The task to repeat after the process has died. Raises BuildFailed: no clip caused it."""
        status = self._process.wait()
        self.end()
        if status in _CRASHES and self._reading is not None:
            return replace(self.task, refused=self.task.refused | {self.task.rows[self._reading]["key"]})
        if status == -signal.SIGKILL and not self.task.killed:
            return replace(self.task, killed=True)
        at = "" if self._reading is None else f", at clip {self.task.rows[self._reading]['key']}"
        how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        hint = "; memory may have run out, try fewer --workers" if status == -signal.SIGKILL else ""
        raise BuildFailed(f"a worker {how} while exporting shard {self.task.shard}{at}{hint}")

    def end(self) -> None:
        """Kill the process: finished outputs are complete, others are only in the temporary directory."""
        self._connection.close()
        self._process.kill()
        self._process.communicate()

    def _send(self, message: Setup | Task) -> None:
        """Send a message. If the process has died, the next `receive` reports it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(message)
