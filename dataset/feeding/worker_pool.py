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

from motionshards.dataset.feeding.read_process import Coming, Done, Order, Refuse, Setup
from motionshards.dataset.feeding.ring import Ring
from motionshards.dataset.reading.layout import Layout
from motionshards.dataset.reading.reader import Ask
from motionshards.dataset.reading.shared_memory import Shared
from motionshards.dataset.stream import ClipStream
from motionshards.schemas.errors import LoaderFailed

logger = logging.getLogger("motionshards")

# Not SIGKILL: it comes from outside, mostly because memory ran out.
_CRASHES = {-number for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)}
_MOST_CRASHES = 100

# multiprocessing would import the main program again, which may lack a guard; with `-m`, classes would belong to __main__.
_CHILD = "from motionshards.dataset.feeding.read_process import main; main()"


@dataclass(slots=True)
class _Asked:
    """A batch that was requested, and the process that reads it."""

    order: Order
    process: int
    tag: Any


class Pump:
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
        self._asked: deque[_Asked] = deque()
        self._done: dict[int, Done] = {}
        self._coming: dict[int, Ask] = {}
        self._number = self._announced = 0
        self.processes, self._threads = processes, threads
        self._refused: set[int] = set()
        self._crashes = 0
        self._readers: list[_Reading] = []
        try:
            for _ in range(processes):
                self._readers.append(self._started())
        except BaseException:
            self.close()
            raise

    @property
    def next_tag(self) -> Any:
        """The tag of the batch that `take` returns next; None without outstanding requests."""
        return self._asked[0].tag if self._asked else None

    @property
    def has_room(self) -> bool:
        """Whether another batch can be requested."""
        return len(self._asked) < self._most and self.ring.free > 0

    def announce(self, asks: list[Ask]) -> None:
        """Announce the next batches to the processes. All batches announced before must have been requested."""
        numbers = range(self._announced, self._announced + len(asks))
        self._coming.update(zip(numbers, asks, strict=True))
        self._announced = numbers.stop
        for process, reader in enumerate(self._readers):
            self._tell(reader, [number for number in numbers if number % len(self._readers) == process])

    def ask(self, tag: Any) -> None:
        """Request the next announced batch; needs `has_room`. `tag` is returned with the batch."""
        asked = _Asked(Order(self._number, self.ring.claim()), self._number % len(self._readers), tag)
        self._asked.append(asked)
        self._readers[asked.process].send(asked.order)
        self._number += 1

    def fetch(self, shards: list[int]) -> None:
        """Make the processes fetch shards into the cache, each a part of them."""
        for number, reader in enumerate(self._readers):
            if mine := shards[number :: len(self._readers)]:
                reader.send(mine)

    def take(self) -> tuple[dict[str, NDArray[Any]], Done, Any]:
        """Wait for the next batch; returns its arrays, its faults and its tag.

        Raises:
            LoaderFailed: a process died, or raised an unexpected exception
        """
        asked = self._asked[0]
        self._finish(asked)
        self._asked.popleft()
        done = self._done.pop(asked.order.number)
        del self._coming[asked.order.number]
        lent = self.ring.places - self.ring.free - len(self._asked) - 1
        return (self.ring.lend if lent < self._held else self.ring.copied)(asked.order.place), done, asked.tag

    def forget(self) -> None:
        """Wait for all outstanding requests and discard them, together with all announcements."""
        while self._asked:
            self._finish(self._asked[0])
            asked = self._asked.popleft()
            del self._done[asked.order.number]
            self.ring.release(asked.order.place)
        self._coming.clear()
        self._number = self._announced

    def close(self) -> None:
        """Stop the processes. Batches that were returned stay valid."""
        for reader in self._readers:
            reader.end()
        self._readers.clear()
        self.ring.memory.close()

    def _finish(self, asked: _Asked) -> None:
        """Wait until a batch has been read."""
        if not self._readers:
            raise LoaderFailed("the loader is closed")
        while asked.order.number not in self._done:
            done = self._readers[asked.process].receive()
            if done is None:
                self._replace(asked.process)
            elif done.error:
                raise LoaderFailed(f"a worker process failed:\n{done.error}")
            else:
                self._done[done.number] = done

    def _replace(self, process: int) -> None:
        """Replace a dead process, and request its missing batches from the new one. Raises LoaderFailed."""
        ended = self._readers[process]
        missing = [asked for asked in self._asked if asked.process == process and asked.order.number not in self._done]
        guilty = ended.held if missing and missing[0].order.alone else []
        self._crashes += 1
        if ended.status not in _CRASHES or self._crashes > _MOST_CRASHES or not ended.held:
            raise ended.failure()
        logger.warning("worker process %d was killed by signal %d; restarting it", ended.pid, -ended.status)
        self._refused.update(guilty)
        ended.end()
        self._readers[process] = self._started()
        for reader in self._readers:
            for clip in guilty:
                reader.send(Refuse(clip))
        wanted = [asked.order.number for asked in missing]
        wanted += [number for number in range(self._number, self._announced) if number % len(self._readers) == process]
        self._tell(self._readers[process], wanted)
        for asked in missing:
            asked.order = replace(asked.order, alone=True)
            self._readers[process].send(asked.order)

    def _tell(self, reader: "_Reading", numbers: list[int]) -> None:
        """Announce batches to the process that will read them."""
        if asks := [self._coming[number] for number in numbers]:
            ask = Ask(np.concatenate([one.clip for one in asks]), np.concatenate([one.turn for one in asks]))
            reader.send(Coming(numbers, ask))

    def _started(self) -> "_Reading":
        hands = Shared.of_size(8 * (self._threads + 1))
        np.frombuffer(hands.block, np.int64)[:] = -1
        return _Reading(self._setup(hands), hands)

    def _setup(self, hands: Shared) -> Setup:
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
            place=replace(stream.place, holders=self.processes * stream.world.local_size),
            threads=self._threads,
            hands_descriptor=hands.descriptor,
            refused=frozenset(self._refused),
        )


class _Reading:
    """A reading process, and the connection to it."""

    def __init__(self, setup: Setup, hands: Shared) -> None:
        self._hands = hands
        self.connection, child = Pipe()
        descriptors = (child.fileno(), setup.catalog_descriptor, setup.ring_descriptor, setup.hands_descriptor)
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
        slots = np.frombuffer(self._hands.block, np.int64)
        return [int(clip) for clip in slots if clip >= 0]

    def send(self, message: Any) -> None:
        """Send a message. If the process has died, the next `receive` reports it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def receive(self) -> Done | None:
        """The next finished batch; None if the process has died."""
        try:
            done: Done = self.connection.recv()
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
        self._hands.close()

    def failure(self) -> LoaderFailed:
        """The error for a process that has died."""
        how = f"was killed by signal {-self.status}" if self.status < 0 else f"exited with status {self.status}"
        hint = "; signal 9 usually means out of memory" if self.status == -9 else ""
        return LoaderFailed(f"worker process {self.pid} {how}{hint}")
