"""A process that reads batches for a loader: it receives requests as messages and fills places in the ring. Imports no torch.

A training loop holds the GIL most of the time; in a separate process, the reading threads have a GIL of their own.
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
from motionshards.dataset.reading.reader import NothingReadable, Plan, Reader, Request
from motionshards.dataset.reading.shared_memory import SharedMemory
from motionshards.dataset.reading.view import View
from motionshards.dataset.storage.shards import Shards, ShardSource

_CLIPS_TOGETHER = 256


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message to a reading process. Descriptors are inherited file descriptors."""

    catalog: Layout
    catalog_descriptor: int
    kind: Kind
    ring: Layout
    ring_descriptor: int
    places: int
    view: View
    seed: int
    warm: bool
    shard_source: ShardSource
    threads: int
    held_descriptor: int
    refused: frozenset[int]


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """A request to read a batch into a place of the ring. `alone`: read its clips one by one, in a single thread."""

    number: int
    place: int
    alone: bool = False


@dataclass(frozen=True, slots=True)
class PlanBatches:
    """The next batches that will be requested from this process, all of one size. Planning them together is far cheaper."""

    numbers: list[int]
    request: Request


@dataclass(frozen=True, slots=True)
class RefuseClip:
    """A clip that must not be read any more."""

    clip: int


@dataclass(frozen=True, slots=True)
class BatchDone:
    """The result of a request. `lost`: a sample has no readable substitute, see `faults`; `error`: traceback of a bug."""

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
        """Read a part; returns whether it was the last one to finish."""
        faults, lost, error = list[Fault](), list[Fault](), ""
        try:
            faults = reader.read(self.plan, self.out, start, stop, self.first)
        except NothingReadable as unreadable:
            lost = unreadable.faults
        except Exception:  # a bug must stop the run in the main process
            error = traceback.format_exc()
        with self.lock:
            self.faults += faults
            self.lost = self.lost or lost
            self.error = self.error or error
            self.parts -= 1
            return self.parts == 0

    def done(self) -> BatchDone:
        return BatchDone(self.number, self.lost or sorted(self.faults, key=lambda one: one.clip), bool(self.lost), self.error)


class HeldClips:
    """The clip that each thread of a reading process is reading (-1 for none), in memory that outlives the process."""

    def __init__(self, slots: NDArray[np.int64]) -> None:
        self._slots, self._free = slots, itertools.count()
        self._of_thread = threading.local()

    def hold(self, clip: int) -> None:
        if not hasattr(self._of_thread, "slot"):
            self._of_thread.slot = next(self._free)
        self._slots[self._of_thread.slot] = clip


class _Process:
    """Threads that read parts of batches in the order of the requests."""

    def __init__(self, setup: Setup, connection: Connection) -> None:
        catalog, ring = SharedMemory(setup.catalog_descriptor), SharedMemory(setup.ring_descriptor)
        arrays = setup.catalog.views(catalog.block)
        shards = Shards(setup.shard_source)
        nameless = Catalog(arrays, pa.array([], pa.string()), (), (), setup.kind)
        self._held_memory = SharedMemory(setup.held_descriptor)
        held = HeldClips(np.frombuffer(self._held_memory.block, np.int64))
        self._reader = Reader(nameless, setup.view, setup.seed, shards, setup.warm, held.hold, setup.refused)
        self._places = [setup.ring.views(ring.block, place * setup.ring.bytes) for place in range(setup.places)]
        self._connection, self._lock = connection, threading.Lock()
        self._parts: SimpleQueue[tuple[_Job, int, int]] = SimpleQueue()
        self._to_fetch: SimpleQueue[list[int]] = SimpleQueue()
        self._names = {name for name, *_ in setup.ring.arrays}
        self._planned: dict[int, tuple[Plan, int]] = {}
        self._count = len(self._places[0]["clip"])
        self._edges = np.unique(np.linspace(0, self._count, setup.threads + 1).round().astype(int)).tolist()
        for work in (*(self._read_parts for _ in range(setup.threads)), lambda: self._fetch(shards)):
            threading.Thread(target=work, daemon=True).start()

    def serve(self) -> None:
        """Handle messages until the loader closes the connection."""
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, ConnectionResetError):
                return
            if isinstance(message, list):
                self._to_fetch.put(message)
            elif isinstance(message, PlanBatches):
                self._plan(message)
            elif isinstance(message, RefuseClip):
                self._reader.refused.add(message.clip)
            else:
                self._start(message)

    def _plan(self, batches: PlanBatches) -> None:
        """Plan batches together, in groups that bound the memory for picking frames of long videos."""
        self._planned.clear()  # batches left from an announcement that was dropped
        together = max(1, _CLIPS_TOGETHER // self._count)
        for start in range(0, len(batches.numbers), together):
            plan = self._reader.plan(batches.request.part(start * self._count, together * self._count), self._names)
            for turn, number in enumerate(batches.numbers[start : start + together]):
                self._planned[number] = plan, turn * self._count

    def _start(self, message: ReadBatch) -> None:
        out, (plan, first) = self._places[message.place], self._planned.pop(message.number)
        job = _Job(message.number, plan, first, out, 1 if message.alone else len(self._edges) - 1)
        if message.alone:  # such requests come first, so the other threads are idle
            self._read(job, 0, self._count)
            return
        for start, stop in itertools.pairwise(self._edges):
            self._parts.put((job, start, stop))

    def _read_parts(self) -> None:
        while True:
            self._read(*self._parts.get())

    def _read(self, job: _Job, start: int, stop: int) -> None:
        if job.read(self._reader, start, stop):
            with self._lock, suppress(BrokenPipeError, ConnectionResetError):  # the loader may have closed the connection
                self._connection.send(job.done())

    def _fetch(self, shards: Shards) -> None:
        while True:
            shards.fetch(self._to_fetch.get())


def main() -> None:
    """Serve the loader at the other end of a connection; its file descriptor is the command-line argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the loader stops this process when it is interrupted
    connection = Connection(int(sys.argv[1]))
    try:
        process = _Process(connection.recv(), connection)
    except Exception:
        connection.send(BatchDone(-1, [], error=traceback.format_exc()))
        raise
    process.serve()
    os._exit(0)  # do not wait for threads that are still reading
