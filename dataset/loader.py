"""make_loader: batches from a ClipStream, read and decoded by processes of their own, on the device when they are wanted.

    with make_loader(stream, device="cuda", augment=Augment(flip=0.5)) as loader:
        for epoch in range(100):
            for batch in loader:
                ...
            torch.save({"loader": loader.state_dict()}, path)

Where processes cannot be started, an ordinary DataLoader over the stream yields the same batches.
"""

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from motionshards.dataset import arguments
from motionshards.dataset.arguments import whole_number
from motionshards.dataset.feeding.device import HELD, Copier
from motionshards.dataset.feeding.worker_pool import Pump
from motionshards.dataset.reading.batch import Batch, as_batch
from motionshards.dataset.reading.order import hashed
from motionshards.dataset.reading.progress import Progress, as_state, from_state
from motionshards.dataset.stream import ClipStream
from motionshards.schemas.errors import ConfigError
from motionshards.transforms.augment.augment import Augment

_MOST_PROCESSES = 8
_AHEAD = 2
_STEPS_AT_ONCE = 16
# The batch that a training loop works on, and the one before that its variable still holds while it asks for the next.
_HELD_ON_HOST = 2


@dataclass(frozen=True, slots=True)
class _Step:
    """A batch: where it begins, what only fills it up, and where the order goes on behind it."""

    begin: Progress
    padded: NDArray[np.bool_]
    after: Progress


class Loader:
    """Batches of a stream. Each pass is the next epoch. Made by `make_loader`, used by one thread."""

    def __init__(self, stream: ClipStream, pump: Pump, device: torch.device, augment: Augment | None) -> None:
        self.stream = stream
        self._pump = pump
        self._device, self._augment = device, augment
        self._copier = Copier(device, pump.ring) if device.type == "cuda" else None
        self._begin = self._given = self._asked = Progress()
        self._coming: deque[_Step] = deque()
        self._pass = 0
        self._window: tuple[int, int] | None = None
        self.close: Callable[[], None] = weakref.finalize(self, pump.close)

    def __repr__(self) -> str:
        return f"Loader({self.stream}: device {self._device}, {self._pump.processes} processes, augment {self._augment})"

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.stream)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the next epoch; after `load_state_dict` the remaining ones of the epoch that the state was taken in.

        A pass counts as an epoch once it has yielded a batch, however it ends; one that has not changes nothing.

        Raises:
            ConfigError: the process group is another than when the stream was opened
            DatasetError: shards of the data set have changed, or a clip cannot be read, nor can those that stand in for it, or
                `on_error` is `raise`
            LoaderFailed: a process that reads died
            RuntimeError: a newer iterator over this loader has begun
        """
        self.stream.check_unchanged()
        self._pass += 1
        this, begin = self._pass, self._begin
        batches = self._read(begin)
        ready = self._copier.ahead(batches, self._augmented) if self._copier else self._on_host(batches)
        for number, (batch, step) in enumerate(ready):
            if number == 0:
                self._begin = Progress(begin.epoch + 1)
            self._given = self.stream.onward(step.after)
            yield batch
            if this != self._pass:  # before anything is read, which would be the other's
                raise RuntimeError("this iterator was invalidated by a newer one over the same loader")

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass be this epoch, from its start, or from where a state of this very epoch was loaded."""
        if self._begin.epoch != whole_number("epoch", epoch, 0):
            self._begin = Progress(epoch)
        self._given = self._begin

    @property
    def epoch(self) -> int:
        """The epoch of the next batch. Cheap, whereas `state_dict` hashes the catalog."""
        return self._given.epoch

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch that was yielded; after the last of an epoch that is the start of the next epoch. The
        same on every rank, and valid for any other number of ranks."""
        return as_state(self._given, self.stream.sequence())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass resume where a state was taken, also with another number of ranks or another batch size.

        Raises:
            ConfigError: it is of other clips, or of another seed, view or shuffle
        """
        progress = from_state(state, self.stream.sequence())
        if progress.yielded:
            raise ConfigError("the state is that of a worker of an ordinary DataLoader")
        self._begin = self._given = self.stream.onward(progress)

    def _read(self, begin: Progress) -> Iterator[tuple[Batch, _Step]]:
        """The batches of an epoch from `begin` on, in host memory. What was asked for already is used where it fits."""
        upcoming = self._pump.next_tag
        if upcoming is None or upcoming.begin != begin:
            self._pump.forget()
            self._coming.clear()
            self._asked = begin
        for _ in range(self.stream.steps(begin.slot)):
            self._ask()
            arrays, done, step = self._pump.take()
            if done.lost:
                raise self.stream.unreadable(done.faults)
            self.stream.report(done.faults)
            self._ask()
            yield as_batch(arrays, self.stream.catalog, step.padded), step

    def _ask(self) -> None:
        """Ask for as many batches as there is room for, also of the next epoch, so that its start need not be waited for."""
        while self._pump.has_room:
            if not self._coming:
                self._look_ahead()
            step = self._coming.popleft()
            self._fetch(step.begin)
            self._pump.ask(step)

    def _look_ahead(self) -> None:
        """Compute the order of the next steps, some at a time: numpy costs the same for one as for a dozen."""
        stream = self.stream
        if not stream.steps(self._asked.slot):
            self._asked = Progress(self._asked.epoch + 1)
        epoch, slot, each = self._asked.epoch, self._asked.slot, stream.global_batch_size
        steps = min(_STEPS_AT_ONCE, stream.steps(slot))
        ask, padded = stream.ask(epoch, slot, steps)
        count = len(padded) // steps
        self._pump.announce([ask.part(step * count, count) for step in range(steps)])
        for fills in np.split(padded, steps):
            self._coming.append(_Step(Progress(epoch, slot), fills, Progress(epoch, slot + each)))
            slot += each
        self._asked = Progress(epoch, slot)

    def _fetch(self, begin: Progress) -> None:
        """Let the shards of the next window be fetched when the order comes into a new one."""
        window = self.stream.window(begin)
        if window != self._window:
            fresh = self._window is None or self._window[0] != begin.epoch
            self._window = window
            self._pump.fetch(
                [*(self.stream.window_shards(*window) if fresh else ()), *self.stream.window_shards(window[0], window[1] + 1)]
            )

    def _on_host(self, batches: Iterator[tuple[Batch, _Step]]) -> Iterator[tuple[Batch, _Step]]:
        for batch, step in batches:
            yield self._augmented(batch, step), step

    def _augmented(self, batch: Batch, step: _Step) -> Batch:
        """Drawn for the whole of the step and cut to this rank's part, so that a clip's draws do not depend on the ranks."""
        if self._augment is None:
            return batch
        stream = self.stream
        seed = int(hashed(stream.seed, step.begin.epoch, step.begin.slot, -5)[0] >> np.uint64(1))
        draws = self._augment.draw(stream.global_batch_size, torch.Generator().manual_seed(seed))
        return self._augment(batch, draws[stream.world.part(stream.global_batch_size)])


def make_loader(
    stream: ClipStream,
    *,
    device: str | torch.device = "cpu",
    processes: int | None = None,
    threads: int | None = None,
    ahead: int | None = None,
    augment: Augment | None = None,
) -> Loader:
    """A loader of a stream.

    device: where batches are wanted; on `cuda` they are copied one batch ahead, on a stream of their own
    processes: that read and decode; by default one for each core that this rank may use, at most 8. Threads of one process hinder
        each other a little
    threads: of each process; by default one more than it has cores. A slow disk can want more
    ahead: batches that are being read, or wait; by default two more than there are processes. The memory they take is `ahead + 2`
        batches of uint8, 3 on a GPU
    augment: is applied to each batch on the device; None leaves frames uint8 [B,n,H,W,3]

    Raises:
        ConfigError: an argument is not of its kind, there is no such device, or time would be reversed in a view whose frames are
            not in time order
    """
    if not isinstance(stream, ClipStream):
        raise ConfigError(f"make_loader takes a ClipStream, not {stream!r}")
    if augment is not None and not isinstance(augment, Augment):
        raise ConfigError(f"augment must be an Augment or None, not {augment!r}; apply your own function to each batch")
    device = arguments.device(device)
    cores = len(os.sched_getaffinity(0)) // stream.world.local_size
    processes = max(1, min(cores, _MOST_PROCESSES)) if processes is None else whole_number("processes", processes, 1)
    threads = cores // processes + 1 if threads is None else whole_number("threads", threads, 1)
    ahead = processes + _AHEAD if ahead is None else whole_number("ahead", ahead, 1)
    if augment is not None and augment.time_flip and not stream.view.in_time_order:
        raise ConfigError(f"time_flip would exchange the frames of {stream.view}, whose places mean something")
    held = HELD if device.type == "cuda" else _HELD_ON_HOST
    return Loader(stream, Pump(stream, processes=processes, threads=threads, ahead=ahead, held=held), device, augment)
