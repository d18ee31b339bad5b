"""Worker processes that prefetch batches into a ring, in the order of the requests.

A damaged file can crash the library that decodes it. A crashed worker is replaced, and the new one repeats the missing batches
clip by clip. A clip that crashes this worker, too, is refused from then on, and a substitute is read instead.
"""

import logging
import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.feeding.read_process import BatchDone, PlanBatches, ReadBatch, RefuseClip, Setup
from motionshards.dataset.feeding.ring import Ring
from motionshards.dataset.reading.layout import Layout
from motionshards.dataset.reading.reader import Request
from motionshards.dataset.reading.shared_memory import SharedMemory
from motionshards.dataset.stream import ClipStream
from motionshards.schemas.errors import LoaderFailed

logger = logging.getLogger("motionshards")

# Not SIGKILL: it comes from outside, mostly because memory ran out.
_CRASHES = {-number for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)}
_MOST_CRASHES = 100

# multiprocessing would import the main program again, which may lack a guard; with `-m`, classes would belong to __main__.
_CHILD = "from motionshards.dataset.feeding.read_process import main; main()"


@dataclass(slots=True)
class _Pending:
    """A batch that was requested, and the process that reads it."""

    message: ReadBatch
    process: int
    tag: Any


class WorkerPool:
    """Reads requested batches in several processes; they are returned in the order of the requests.

    processes, threads: number of processes, and of threads per process
    ahead: maximum number of outstanding requests
    held: number of batches that the caller may hold at a time; beyond that, `take` returns copies to keep places free
    """

    def __init__(self, stream: ClipStream, *, processes: int, threads: int, ahead: int, held: int) -> None:
        self.stream = stream
        self._held = held
        self._most = ahead
        self.ring = Ring(stream.layout(), self._most + held)
        self._pending: deque[_Pending] = deque()
        self._done: dict[int, BatchDone] = {}
        self._announced_requests: dict[int, Request] = {}
        self._number = self._announced = 0
        self.processes, self._threads = processes, threads
        self._refused: set[int] = set()
        self._crashes = 0
        self._workers: list[_Worker] = []
        try:
            for _ in range(processes):
                self._workers.append(self._start_worker())
        except BaseException:
            self.close()
            raise

    @property
    def next_tag(self) -> Any:
        """The tag of the batch that `take` returns next; None without outstanding requests."""
        return self._pending[0].tag if self._pending else None

    @property
    def has_room(self) -> bool:
        """Whether another batch can be requested."""
        return len(self._pending) < self._most and self.ring.free > 0

    def announce(self, requests: list[Request]) -> None:
        """Announce the next batches to the processes. All batches announced before must have been requested."""
        numbers = range(self._announced, self._announced + len(requests))
        self._announced_requests.update(zip(numbers, requests, strict=True))
        self._announced = numbers.stop
        for process, worker in enumerate(self._workers):
            self._announce_to(worker, [number for number in numbers if number % len(self._workers) == process])

    def request(self, tag: Any) -> None:
        """Request the next announced batch; needs `has_room`. `tag` is returned with the batch."""
        pending = _Pending(ReadBatch(self._number, self.ring.claim()), self._number % len(self._workers), tag)
        self._pending.append(pending)
        self._workers[pending.process].send(pending.message)
        self._number += 1

    def fetch(self, shards: list[int]) -> None:
        """Make the processes fetch shards into the cache, each a part of them."""
        for number, worker in enumerate(self._workers):
            if part := shards[number :: len(self._workers)]:
                worker.send(part)

    def take(self) -> tuple[dict[str, NDArray[Any]], BatchDone, Any]:
        """Wait for the next batch; returns its arrays, its faults and its tag.

        Raises:
            LoaderFailed: a process died, or raised an unexpected exception
        """
        pending = self._pending[0]
        self._finish(pending)
        self._pending.popleft()
        done = self._done.pop(pending.message.number)
        del self._announced_requests[pending.message.number]
        lent = self.ring.places - self.ring.free - len(self._pending) - 1
        return (self.ring.lend if lent < self._held else self.ring.copied)(pending.message.place), done, pending.tag

    def forget(self) -> None:
        """Wait for all outstanding requests and discard them, together with all announcements."""
        while self._pending:
            self._finish(self._pending[0])
            pending = self._pending.popleft()
            del self._done[pending.message.number]
            self.ring.release(pending.message.place)
        self._announced_requests.clear()
        self._number = self._announced

    def close(self) -> None:
        """Stop the processes. Batches that were returned stay valid."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        self.ring.memory.close()

    def _finish(self, pending: _Pending) -> None:
        """Wait until a batch has been read."""
        if not self._workers:
            raise LoaderFailed("the loader is closed")
        while pending.message.number not in self._done:
            done = self._workers[pending.process].receive()
            if done is None:
                self._replace(pending.process)
            elif done.error:
                raise LoaderFailed(f"a worker process failed:\n{done.error}")
            else:
                self._done[done.number] = done

    def _replace(self, process: int) -> None:
        """Replace a dead process, and request its missing batches from the new one. Raises LoaderFailed."""
        ended = self._workers[process]
        missing = [
            pending for pending in self._pending if pending.process == process and pending.message.number not in self._done
        ]
        crashing = ended.held if missing and missing[0].message.alone else []
        self._crashes += 1
        if ended.status not in _CRASHES or self._crashes > _MOST_CRASHES or not ended.held:
            raise ended.failure()
        logger.warning("worker process %d was killed by signal %d; restarting it", ended.pid, -ended.status)
        self._refused.update(crashing)
        ended.end()
        self._workers[process] = self._start_worker()
        for worker in self._workers:
            for clip in crashing:
                worker.send(RefuseClip(clip))
        numbers = [pending.message.number for pending in missing]
        numbers += [number for number in range(self._number, self._announced) if number % len(self._workers) == process]
        self._announce_to(self._workers[process], numbers)
        for pending in missing:
            pending.message = replace(pending.message, alone=True)
            self._workers[process].send(pending.message)

    def _announce_to(self, worker: "_Worker", numbers: list[int]) -> None:
        """Announce batches to the process that will read them."""
        if requests := [self._announced_requests[number] for number in numbers]:
            request = Request(np.concatenate([one.clip for one in requests]), np.concatenate([one.turn for one in requests]))
            worker.send(PlanBatches(numbers, request))

    def _start_worker(self) -> "_Worker":
        held = SharedMemory.of_size(8 * (self._threads + 1))
        np.frombuffer(held.block, np.int64)[:] = -1
        return _Worker(self._setup(held), held)

    def _setup(self, held: SharedMemory) -> Setup:
        stream = self.stream
        assert stream.catalog.memory is not None
        return Setup(
            catalog=Layout.of(stream.catalog.arrays),
            catalog_descriptor=stream.catalog.memory.descriptor,
            kind=stream.catalog.kind,
            ring=self.ring.layout,
            ring_descriptor=self.ring.memory.descriptor,
            places=self.ring.places,
            view=stream.view,
            seed=stream.seed,
            warm=stream.warm,
            shard_source=replace(stream.shard_source, holders=self.processes * stream.world.local_size),
            threads=self._threads,
            held_descriptor=held.descriptor,
            refused=frozenset(self._refused),
        )


class _Worker:
    """A reading process, and the connection to it."""

    def __init__(self, setup: Setup, held: SharedMemory) -> None:
        self._held_memory = held
        self.connection, child = Pipe()
        descriptors = (child.fileno(), setup.catalog_descriptor, setup.ring_descriptor, setup.held_descriptor)
        # Pass sys.path on: the main program may have changed it.
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        environment = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", **os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-c", _CHILD, str(child.fileno())]
        self._process = subprocess.Popen(command, pass_fds=descriptors, stdin=subprocess.DEVNULL, env=environment)
        child.close()
        self.send(setup)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int:
        """Wait for its end; returns its exit status, or the negative number of a signal."""
        return self._process.wait()

    @property
    def held(self) -> list[int]:
        """The clips that its threads are reading, or were reading when it died."""
        slots = np.frombuffer(self._held_memory.block, np.int64)
        return [int(clip) for clip in slots if clip >= 0]

    def send(self, message: Any) -> None:
        """Send a message. If the process has died, the next `receive` reports it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def receive(self) -> BatchDone | None:
        """The next finished batch; None if the process has died."""
        try:
            done: BatchDone = self.connection.recv()
            return done
        except (EOFError, ConnectionResetError):
            return None

    def end(self) -> None:
        self.connection.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._held_memory.close()

    def failure(self) -> LoaderFailed:
        """The error for a process that has died."""
        how = f"was killed by signal {-self.status}" if self.status < 0 else f"exited with status {self.status}"
        hint = "; signal 9 usually means out of memory" if self.status == -9 else ""
        return LoaderFailed(f"worker process {self.pid} {how}{hint}")
