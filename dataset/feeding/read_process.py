"""A process that reads batches for a loader: told by messages which, it fills their places in the ring. Holds no torch.

A training loop holds Python's lock most of the time; here many threads share a lock that nothing else wants.
"""

import itertools
import os
import signal
import sys
import threading
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.faults import Fault
from motionshards.dataset.reading.layout import Layout
from motionshards.dataset.reading.reader import Ask, NothingReadable, Plan, Reader
from motionshards.dataset.reading.shared_memory import Shared
from motionshards.dataset.reading.view import View
from motionshards.dataset.storage.shards import Place, Shards


@dataclass(frozen=True, slots=True)
class Setup:
    """What a reading process is told first. Descriptors are those that it inherited."""

    catalog: Layout
    catalog_descriptor: int
    every: int
    ring: Layout
    ring_descriptor: int
    places: int
    view: View
    seed: int
    warm: bool
    place: Place
    threads: int


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
            faults = reader.read(self.plan, self.out, start, stop)
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


class _Process:
    """Threads that read parts of batches in the order in which those were asked for."""

    def __init__(self, setup: Setup, connection: Connection) -> None:
        catalog, ring = Shared(setup.catalog_descriptor), Shared(setup.ring_descriptor)
        arrays = setup.catalog.views(catalog.block)
        shards = Shards(setup.place)
        nameless = Catalog(arrays, pa.array([], pa.string()), (), (), every=setup.every)
        self._reader = Reader(nameless, setup.view, setup.seed, shards, setup.warm)
        self._places = [setup.ring.views(ring.block, place * setup.ring.bytes) for place in range(setup.places)]
        self._connection, self._lock = connection, threading.Lock()
        self._parts: SimpleQueue[tuple[_Job, int, int]] = SimpleQueue()
        self._wanted: SimpleQueue[list[int]] = SimpleQueue()
        self._threads = setup.threads
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
            else:
                self._start(*message)

    def _start(self, number: int, place: int, clip: NDArray[np.int64], turn: NDArray[np.int64]) -> None:
        out = self._places[place]
        edges = np.unique(np.linspace(0, len(clip), self._threads + 1).round().astype(int)).tolist()
        job = _Job(number, self._reader.plan(Ask(clip, turn), out), out, len(edges) - 1)
        for start, stop in itertools.pairwise(edges):
            self._parts.put((job, start, stop))

    def _read_parts(self) -> None:
        while True:
            job, start, stop = self._parts.get()
            if job.read(self._reader, start, stop):
                try:
                    with self._lock:
                        self._connection.send(job.done())
                except (BrokenPipeError, ConnectionResetError):
                    return  # the loader has hung up

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
