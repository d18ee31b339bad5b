"""Batches on a GPU: copied from the ring on a stream of their own, one batch ahead of the training step.

The ring's memory is registered with CUDA (page-locked), so copies run beside the computation. A place is given back once
its copy is known to be over.
"""

import logging
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

from motionshards.dataset.feeding.ring import Ring
from motionshards.dataset.reading.batch import Batch

logger = logging.getLogger("motionshards")

Place = TypeVar("Place")

# The batch being copied, the one that waits to be handed out, and one whose copy is not yet known to be over.
HELD = 3


class Copier:
    """Copies batches to a CUDA device."""

    def __init__(self, device: torch.device, ring: Ring) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._copying: deque[tuple[torch.cuda.Event, Batch]] = deque()
        self._ring = ring  # must not be unmapped before it is let go
        cuda: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        status = int(cuda.cudaHostRegister(ring.address, ring.bytes, 0))
        if status:
            logger.warning("the loader's memory cannot be page-locked (CUDA says %d): copies will hold up training", status)
        else:
            weakref.finalize(self, cuda.cudaHostUnregister, ring.address).atexit = False

    def ahead(
        self, batches: Iterator[tuple[Batch, Place]], finish: Callable[[Batch, Place], Batch]
    ) -> Iterator[tuple[Batch, Place]]:
        """Batches on the device, and what came with them; `finish` is applied there, on the copying stream."""
        waiting: tuple[Batch, Place, torch.cuda.Event] | None = None
        for batch, place in batches:
            issued = self._issue(batch, place, finish)
            if waiting is not None:
                yield self._ready(*waiting)
            waiting = issued
        if waiting is not None:
            yield self._ready(*waiting)

    def _issue(
        self, batch: Batch, place: Place, finish: Callable[[Batch, Place], Batch]
    ) -> tuple[Batch, Place, torch.cuda.Event]:
        while self._copying and (len(self._copying) >= HELD - 1 or self._copying[0][0].query()):  # type: ignore[no-untyped-call]
            self._copying.popleft()[0].synchronize()
        with torch.cuda.stream(self._stream):
            moved = batch.to(self._device, non_blocking=True)
            self._copying.append((self._stream.record_event(), batch))
            return finish(moved, place), place, self._stream.record_event()

    def _ready(self, batch: Batch, place: Place, event: torch.cuda.Event) -> tuple[Batch, Place]:
        current = torch.cuda.current_stream(self._device)
        current.wait_event(event)
        for tensor in batch.tensors().values():
            # Made on the copying stream: its memory must not be used again before the training step is through with it.
            tensor.record_stream(current)
        return batch, place
