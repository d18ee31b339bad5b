"""The samples that streams yield, in order, in a form that tests can compare."""

from pathlib import Path
from typing import Any

import torch.utils.data

from motionshards.dataset.stream import Batch, ClipStream, Pairs

Seen = list[tuple[str, tuple[int, ...], bool]]


def stream_of(data: Path | str, **options: Any) -> ClipStream:
    """A stream of pairs, six per batch, with overridable settings."""
    return ClipStream(data, **{"view": Pairs(2), "global_batch_size": 6, **options})


def seen(batches: Any) -> Seen:
    """Clip, frames and padding flag of all samples in order."""
    found: Seen = []
    for batch in batches:
        found += zip(batch.keys, map(tuple, batch.number.tolist()), batch.padded.tolist(), strict=True)
    return found


def interleaved(ranks: list[list[Batch]]) -> Seen:
    """The global sequence, from the batches of each rank."""
    return [one for step in zip(*ranks, strict=True) for batch in step for one in seen([batch])]


def ordinary(stream: ClipStream, workers: int = 0) -> "torch.utils.data.DataLoader[Batch]":
    return torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers)
