"""make_loader: batches of a ClipStream, read and decoded in worker processes and prefetched to the device.

    with make_loader(stream, device="cuda", augment=Augment(flip=0.5)) as loader:
        for epoch in range(100):
            for batch in loader:
                ...
            torch.save({"loader": loader.state_dict()}, path)

Where processes cannot be started, use a DataLoader over the stream: it yields the same batches.
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
from motionshards.dataset.feeding.worker_pool import WorkerPool
from motionshards.dataset.reading.batch import Batch, as_batch
from motionshards.dataset.reading.order import hashed
from motionshards.dataset.reading.progress import Progress, as_state, from_state
from motionshards.dataset.stream import ClipStream
from motionshards.schemas.errors import ConfigError
from motionshards.transforms.augment.augment import Augment

_MOST_PROCESSES = 8
_AHEAD = 2
_STEPS_AT_ONCE = 16
# The batch that a training loop works on, and the previous one, which its variable still holds while it requests the next.
_HELD_ON_HOST = 2


@dataclass(frozen=True, slots=True)
class _Step:
    """A batch to be read: its first slot, which of its samples are padding, and the position after it."""

    begin: Progress
    padded: NDArray[np.bool_]
    after: Progress


class Loader:
    """Batches of a stream; each pass is the next epoch. Created by `make_loader`. Not thread-safe."""

    def __init__(self, stream: ClipStream, pool: WorkerPool, device: torch.device, augment: Augment | None) -> None:
        self.stream = stream
        self._pool = pool
        self._device, self._augment = device, augment
        self._copier = Copier(device, pool.ring) if device.type == "cuda" else None
        self._begin = self._yielded = self._requested = Progress()
        self._upcoming: deque[_Step] = deque()
        self._pass = 0
        self._window: tuple[int, int] | None = None
        self.close: Callable[[], None] = weakref.finalize(self, pool.close)

    def __repr__(self) -> str:
        return f"Loader({self.stream}: device {self._device}, {self._pool.processes} processes, augment {self._augment})"

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.stream)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the next epoch; after `load_state_dict`, exactly the remaining ones of the saved epoch.

        A pass counts as an epoch once it has yielded a batch, even if it is left early.

        Raises:
            ConfigError: the process group is not the one with which the stream was opened
            DatasetError: shards of the dataset have changed, or a clip cannot be read and `on_error` is `"raise"` or all of its
                substitutes cannot be read either
            LoaderFailed: a worker process died
            RuntimeError: a newer iterator over this loader has started
        """
        self.stream.check_unchanged()
        self._pass += 1
        this, begin = self._pass, self._begin
        batches = self._read(begin)
        ready = self._copier.ahead(batches, self._augmented) if self._copier else self._on_host(batches)
        for number, (batch, step) in enumerate(ready):
            if number == 0:
                self._begin = Progress(begin.epoch + 1)
            self._yielded = self.stream.roll_over(step.after)
            yield batch
            if this != self._pass:  # checked before reading, which would consume the newer iterator's batches
                raise RuntimeError("this iterator was invalidated by a newer one over the same loader")

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass this epoch, from its start or, if a state of the same epoch was loaded, from its position."""
        if self._begin.epoch != whole_number("epoch", epoch, 0):
            self._begin = Progress(epoch)
        self._yielded = self._begin

    @property
    def epoch(self) -> int:
        """The epoch of the next batch. Cheap, unlike `state_dict`, which hashes the catalog."""
        return self._yielded.epoch

    def state_dict(self) -> dict[str, Any]:
        """The position after the last yielded batch; after the last batch of an epoch, the start of the next epoch. Identical on
        every rank, and valid for any world size."""
        return as_state(self._yielded, self.stream.sequence())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state in the next pass, even with a different world size, batch size or number of workers.

        Raises:
            ConfigError: the state was saved with different clips, or another seed, view or shuffle
        """
        progress = from_state(state, self.stream.sequence())
        if progress.yielded:
            raise ConfigError("this state was saved by a worker of a DataLoader; load it into that DataLoader")
        self._begin = self._yielded = self.stream.roll_over(progress)

    def _read(self, begin: Progress) -> Iterator[tuple[Batch, _Step]]:
        """Batches of an epoch from `begin` on, in host memory. Requests already in flight are reused if they match."""
        next_step = self._pool.next_tag
        if next_step is None or next_step.begin != begin:
            self._pool.forget()
            self._upcoming.clear()
            self._requested = begin
        for _ in range(self.stream.steps(begin.slot)):
            self._request_ahead()
            arrays, done, step = self._pool.take()
            if done.lost:
                raise self.stream.unreadable(done.faults)
            self.stream.report(done.faults)
            self._request_ahead()
            yield as_batch(arrays, self.stream.catalog, step.padded), step

    def _request_ahead(self) -> None:
        """Request as many batches as the ring has room for, including those of the next epoch, which then starts at once."""
        while self._pool.has_room:
            if not self._upcoming:
                self._plan_ahead()
            step = self._upcoming.popleft()
            self._fetch(step.begin)
            self._pool.request(step)

    def _plan_ahead(self) -> None:
        """Compute the order of the next steps in chunks: for numpy, a dozen steps cost as much as one."""
        stream = self.stream
        if not stream.steps(self._requested.slot):
            self._requested = Progress(self._requested.epoch + 1)
        epoch, slot, each = self._requested.epoch, self._requested.slot, stream.global_batch_size
        steps = min(_STEPS_AT_ONCE, stream.steps(slot))
        request, padded = stream.requests(epoch, slot, steps)
        count = len(padded) // steps
        self._pool.announce([request.part(step * count, count) for step in range(steps)])
        for fills in np.split(padded, steps):
            self._upcoming.append(_Step(Progress(epoch, slot), fills, Progress(epoch, slot + each)))
            slot += each
        self._requested = Progress(epoch, slot)

    def _fetch(self, begin: Progress) -> None:
        """Prefetch the shards of the next window when reading enters a new one."""
        window = self.stream.window(begin)
        if window != self._window:
            fresh = self._window is None or self._window[0] != begin.epoch
            self._window = window
            self._pool.fetch(
                [*(self.stream.window_shards(*window) if fresh else ()), *self.stream.window_shards(window[0], window[1] + 1)]
            )

    def _on_host(self, batches: Iterator[tuple[Batch, _Step]]) -> Iterator[tuple[Batch, _Step]]:
        for batch, step in batches:
            yield self._augmented(batch, step), step

    def _augmented(self, batch: Batch, step: _Step) -> Batch:
        """Draw for the global batch and take this rank's part, so that draws are independent of the number of ranks."""
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
    """Load batches of a stream in worker processes.

    stream: the stream to read
    device: device of the batches; on `"cuda"`, they are copied one batch ahead on a separate CUDA stream
    processes: worker processes that read and decode; by default one per core available to this rank, at most 8. More processes
        scale a little better than more threads
    threads: threads per process; by default one more than its share of cores. Slow disks may need more
    ahead: batches to prefetch; by default `processes + 2`. Host memory: `ahead + 2` uint8 batches, `ahead + 3` with a GPU
    augment: applied to each batch on the device; with None, frames stay uint8 [B,n,H,W,3]

    Raises:
        ConfigError: an argument is invalid, the device is unavailable, or `augment` reverses time in a view whose frames are not
            in time order
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
        raise ConfigError(f"time_flip cannot be used with {stream.view}: the position of its frames has a meaning")
    held = HELD if device.type == "cuda" else _HELD_ON_HOST
    return Loader(stream, WorkerPool(stream, processes=processes, threads=threads, ahead=ahead, held=held), device, augment)
