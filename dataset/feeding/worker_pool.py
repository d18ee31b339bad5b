"""Processes that read batches ahead into a ring, in the order in which they were asked for."""

import os
import subprocess
import sys
from collections import deque
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from motionshards.dataset.feeding.read_process import Done, Setup
from motionshards.dataset.feeding.ring import Ring
from motionshards.dataset.reading.layout import Layout
from motionshards.dataset.reading.reader import Ask
from motionshards.dataset.stream import ClipStream
from motionshards.schemas.errors import LoaderFailed

# multiprocessing would import the main program again, which may have no guard against that; with -m classes would be __main__'s.
_CHILD = "from motionshards.dataset.feeding.read_process import main; main()"


@dataclass(slots=True)
class _Asked:
    """A batch that was asked for: its number, place in the ring and process."""

    number: int
    place: int
    process: int
    tag: Any


class Pump:
    """Reads the batches that it is asked for, several at a time; they come out in the order of asking.

    ahead: batches that are asked for at a time
    held: batches that the caller holds at a time; of more he gets copies, as the ring must go round
    """

    def __init__(self, stream: ClipStream, *, processes: int, threads: int, ahead: int, held: int) -> None:
        self.stream = stream
        self._held = held
        self._most = ahead
        self.ring = Ring(stream.layout(), self._most + held)
        self._asked: deque[_Asked] = deque()
        self._done: dict[int, Done] = {}
        self._number = 0
        self._readers: list[_Reading] = []
        try:
            for _ in range(processes):
                self._readers.append(_Reading(self._setup(processes, threads)))
        except BaseException:
            self.close()
            raise

    @property
    def next_tag(self) -> Any:
        """The tag of the batch that `take` gives; None where nothing was asked for."""
        return self._asked[0].tag if self._asked else None

    @property
    def has_room(self) -> bool:
        """Whether another batch can be asked for."""
        return len(self._asked) < self._most and self.ring.free > 0

    def ask(self, ask: Ask, tag: Any) -> None:
        """Ask for a batch, where there is room for it; `tag` comes back with it."""
        place = self.ring.claim()
        asked = _Asked(self._number, place, self._number % len(self._readers), tag)
        self._readers[asked.process].send((asked.number, place, ask.clip, ask.turn))
        self._asked.append(asked)
        self._number += 1

    def fetch(self, shards: list[int]) -> None:
        """Let the processes bring shards into the cache, each its part."""
        for number, reader in enumerate(self._readers):
            if mine := shards[number :: len(self._readers)]:
                reader.send(mine)

    def take(self) -> tuple[dict[str, NDArray[Any]], Done, Any]:
        """The next batch: its arrays, what was replaced in it, its tag.

        Raises:
            LoaderFailed: a process died, or ran into a bug
        """
        asked = self._asked[0]
        self._finish(asked)
        self._asked.popleft()
        done = self._done.pop(asked.number)
        lent = self.ring.places - self.ring.free - len(self._asked) - 1
        return (self.ring.lend if lent < self._held else self.ring.copied)(asked.place), done, asked.tag

    def forget(self) -> None:
        """Wait for what was asked for and throw it away."""
        while self._asked:
            self._finish(self._asked[0])
            asked = self._asked.popleft()
            del self._done[asked.number]
            self.ring.release(asked.place)

    def close(self) -> None:
        """End the processes. Batches that were given out stay valid."""
        for reader in self._readers:
            reader.end()
        self._readers.clear()
        self.ring.memory.close()

    def _finish(self, asked: _Asked) -> None:
        """Wait until a batch is read."""
        if not self._readers:
            raise LoaderFailed("the loader was closed")
        while asked.number not in self._done:
            for reader in wait(cast(Any, self._readers)):
                done = cast(_Reading, reader).receive()
                if done.error:
                    raise LoaderFailed(f"a process that reads batches failed:\n{done.error}")
                self._done[done.number] = done

    def _setup(self, processes: int, threads: int) -> Setup:
        stream = self.stream
        assert stream.catalog.memory is not None
        return Setup(
            catalog=Layout.of(stream.catalog.arrays),
            catalog_descriptor=stream.catalog.memory.descriptor,
            every=stream.catalog.every,
            ring=self.ring.layout,
            ring_descriptor=self.ring.memory.descriptor,
            places=self.ring.places,
            view=stream.view,
            seed=stream.seed,
            warm=stream.warm,
            place=replace(stream.place, holders=processes * stream.world.local_size),
            threads=threads,
        )


class _Reading:
    """A process that reads, and the connection to it."""

    def __init__(self, setup: Setup) -> None:
        self.connection, theirs = Pipe()
        descriptors = (theirs.fileno(), setup.catalog_descriptor, setup.ring_descriptor)
        # sys.path goes along, since the main program may have changed it.
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        environment = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", **os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-c", _CHILD, str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=descriptors, stdin=subprocess.DEVNULL, env=environment)
        theirs.close()
        self.send(setup)

    def fileno(self) -> int:
        """Of the connection, to wait for."""
        return self.connection.fileno()

    def send(self, message: Any) -> None:
        try:
            self.connection.send(message)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._died() from error

    def receive(self) -> Done:
        try:
            done: Done = self.connection.recv()
            return done
        except (EOFError, ConnectionResetError) as error:
            raise self._died() from error

    def end(self) -> None:
        self.connection.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _died(self) -> LoaderFailed:
        status = self._process.wait()
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        hint = "; signal 9 usually means that memory ran out" if status == -9 else ""
        return LoaderFailed(f"process {self._process.pid} that reads batches {how}{hint}")
