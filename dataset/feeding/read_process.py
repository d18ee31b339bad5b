"""A process that reads batches for a loader: told by messages which, it fills their places in the ring. Holds no torch.

A training loop holds Python's lock most of the time; here many threads share a lock that nothing else wants.
"""

import itertools
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.faults import Fault
from motionshards.dataset.reading.index_arrays import Kind
from motionshards.dataset.reading.layout import Layout
from motionshards.dataset.reading.reader import Ask, NothingReadable, Plan, Reader
from motionshards.dataset.reading.shared_memory import Shared
from motionshards.dataset.reading.view import View
from motionshards.dataset.storage.shards import Place, Shards

_CLIPS_TOGETHER = 256


@dataclass(frozen=True, slots=True)
class Setup:
    """What a reading process is told first. Descriptors are those that it inherited."""

    catalog: Layout
    catalog_descriptor: int
    kind: Kind
    ring: Layout
    ring_descriptor: int
    places: int
    view: View
    seed: int
    warm: bool
    place: Place
    threads: int
    hands_descriptor: int
    refused: frozenset[int]


@dataclass(frozen=True, slots=True)
class Order:
    """A batch to be read into a place of the ring. `alone`: clip after clip, by no more than one thread."""

    number: int
    place: int
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Coming:
    """The next batches that will be ordered from this process, equally large ones. Looked up together, each costs far less."""

    numbers: list[int]
    ask: Ask


@dataclass(frozen=True, slots=True)
class Refuse:
    """A clip that is not to be read any more."""

    clip: int


@dataclass(frozen=True, slots=True)
class Done:
    """A batch that was read, or why not: `faults` of a sample without a stand-in if `lost`, `error` if it is a bug."""

    number: int
    faults: list[Fault]
    lost: bool = False
    error: str = ""


@dataclass(slots=True)
class _Job:
    """A batch being read by several threads."""

    number: int
    plan: Plan
    first: int
    out: dict[str, NDArray[Any]]
    parts: int
    faults: list[Fault] = field(default_factory=list)
    lost: list[Fault] = field(default_factory=list)
    error: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, reader: Reader, start: int, stop: int) -> bool:
        """Read a part; whether it was the last."""
        faults, lost, error = list[Fault](), list[Fault](), ""
        try:
            faults = reader.read(self.plan, self.out, start, stop, self.first)
        except NothingReadable as unreadable:
            lost = unreadable.faults
        except Exception:  # a bug must end the run in the process that the user sees
            error = traceback.format_exc()
        with self.lock:
            self.faults += faults
            self.lost = self.lost or lost
            self.error = self.error or error
            self.parts -= 1
            return self.parts == 0

    def done(self) -> Done:
        return Done(self.number, self.lost or sorted(self.faults, key=lambda one: one.clip), bool(self.lost), self.error)


class Hands:
    """Which clip each thread of a reading process is reading, in memory that outlives the process; -1 for none."""

    def __init__(self, slots: NDArray[np.int64]) -> None:
        self._slots, self._free = slots, itertools.count()
        self._of_thread = threading.local()

    def hold(self, clip: int) -> None:
        if not hasattr(self._of_thread, "slot"):
            self._of_thread.slot = next(self._free)
        self._slots[self._of_thread.slot] = clip


class _Process:
    """Threads that read parts of batches in the order in which those were asked for."""

    def __init__(self, setup: Setup, connection: Connection) -> None:
        catalog, ring = Shared(setup.catalog_descriptor), Shared(setup.ring_descriptor)
        arrays = setup.catalog.views(catalog.block)
        shards = Shards(setup.place)
        nameless = Catalog(arrays, pa.array([], pa.string()), (), (), setup.kind)
        self._hands = Shared(setup.hands_descriptor)
        hands = Hands(np.frombuffer(self._hands.block, np.int64))
        self._reader = Reader(nameless, setup.view, setup.seed, shards, setup.warm, hands.hold, setup.refused)
        self._places = [setup.ring.views(ring.block, place * setup.ring.bytes) for place in range(setup.places)]
        self._connection, self._lock = connection, threading.Lock()
        self._parts: SimpleQueue[tuple[_Job, int, int]] = SimpleQueue()
        self._wanted: SimpleQueue[list[int]] = SimpleQueue()
        self._names = {name for name, *_ in setup.ring.arrays}
        self._coming: dict[int, tuple[Plan, int]] = {}
        self._count = len(self._places[0]["clip"])
        self._edges = np.unique(np.linspace(0, self._count, setup.threads + 1).round().astype(int)).tolist()
        for work in (*(self._read_parts for _ in range(setup.threads)), lambda: self._fetch(shards)):
            threading.Thread(target=work, daemon=True).start()

    def serve(self) -> None:
        """Take orders until the loader hangs up."""
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, ConnectionResetError):
                return
            if isinstance(message, list):
                self._wanted.put(message)
            elif isinstance(message, Coming):
                self._look_up(message)
            elif isinstance(message, Refuse):
                self._reader.refused.add(message.clip)
            else:
                self._start(message)

    def _look_up(self, coming: Coming) -> None:
        """Look up batches together, but not so many that the choice among the frames of long videos takes much memory."""
        self._coming.clear()  # of batches that will not be ordered any more
        together = max(1, _CLIPS_TOGETHER // self._count)
        for start in range(0, len(coming.numbers), together):
            plan = self._reader.plan(coming.ask.part(start * self._count, together * self._count), self._names)
            for turn, number in enumerate(coming.numbers[start : start + together]):
                self._coming[number] = plan, turn * self._count

    def _start(self, order: Order) -> None:
        out, (plan, first) = self._places[order.place], self._coming.pop(order.number)
        job = _Job(order.number, plan, first, out, 1 if order.alone else len(self._edges) - 1)
        if order.alone:  # such orders come first, so no other thread has anything to read yet
            self._read(job, 0, self._count)
            return
        for start, stop in itertools.pairwise(self._edges):
            self._parts.put((job, start, stop))

    def _read_parts(self) -> None:
        while True:
            self._read(*self._parts.get())

    def _read(self, job: _Job, start: int, stop: int) -> None:
        if job.read(self._reader, start, stop):
            with self._lock, suppress(BrokenPipeError, ConnectionResetError):  # the loader may have hung up
                self._connection.send(job.done())

    def _fetch(self, shards: Shards) -> None:
        while True:
            shards.fetch(self._wanted.get())


def main() -> None:
    """Serve the loader at the other end of the connection whose descriptor is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the loader ends us, when it has ended itself
    connection = Connection(int(sys.argv[1]))
    try:
        process = _Process(connection.recv(), connection)
    except Exception:
        connection.send(Done(-1, [], error=traceback.format_exc()))
        raise
    process.serve()
    os._exit(0)  # threads may be in the midst of a read that nobody wants any more
