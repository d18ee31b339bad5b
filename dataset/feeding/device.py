"""Copies batches from the ring to a GPU on a separate CUDA stream, one batch ahead of the training step.

The ring's memory is registered with CUDA (page-locked), so copies overlap with computation. A slot of the ring is released once
its copy is known to have finished.
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

Tag = TypeVar("Tag")

# The batch being copied, the one waiting to be yielded, and one whose copy is not yet known to have finished.
HELD = 3


class Copier:
    """Copies batches to a CUDA device."""

    def __init__(self, device: torch.device, ring: Ring) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._copying: deque[tuple[torch.cuda.Event, Batch]] = deque()
        self._ring = ring  # keeps the memory mapped until it is unregistered
        cuda: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        status = int(cuda.cudaHostRegister(ring.address, ring.bytes, 0))
        if status:
            logger.warning("the loader's memory cannot be page-locked (CUDA error %d): copies will slow down training", status)
        else:
            weakref.finalize(self, cuda.cudaHostUnregister, ring.address).atexit = False

    def ahead(self, batches: Iterator[tuple[Batch, Tag]], finish: Callable[[Batch, Tag], Batch]) -> Iterator[tuple[Batch, Tag]]:
        """Yield batches on the device with their tags, one ahead; `finish` is applied on the device, on the copying stream."""
        waiting: tuple[Batch, Tag, torch.cuda.Event] | None = None
        for batch, tag in batches:
            issued = self._issue(batch, tag, finish)
            if waiting is not None:
                yield self._ready(*waiting)
            waiting = issued
        if waiting is not None:
            yield self._ready(*waiting)

    def _issue(self, batch: Batch, tag: Tag, finish: Callable[[Batch, Tag], Batch]) -> tuple[Batch, Tag, torch.cuda.Event]:
        while self._copying and (len(self._copying) >= HELD - 1 or self._copying[0][0].query()):  # type: ignore[no-untyped-call]
            self._copying.popleft()[0].synchronize()
        with torch.cuda.stream(self._stream):
            moved = batch.to(self._device, non_blocking=True)
            self._copying.append((self._stream.record_event(), batch))
            return finish(moved, tag), tag, self._stream.record_event()

    def _ready(self, batch: Batch, tag: Tag, event: torch.cuda.Event) -> tuple[Batch, Tag]:
        current = torch.cuda.current_stream(self._device)
        current.wait_event(event)
        for tensor in batch.tensors().values():
            # Allocated on the copying stream: its memory must not be reused before the training step has finished with it.
            tensor.record_stream(current)
        return batch, tag
