"""The samples that streams yield, in order, in a form that tests can compare."""

from typing import Any

import torch.utils.data

from motionshards.dataset.stream import Batch, ClipStream

Seen = list[tuple[str, tuple[int, ...], bool]]


def seen(batches: Any) -> Seen:
    """Clip, frames and whether it only fills up, of all samples in order."""
    found: Seen = []
    for batch in batches:
        found += zip(batch.keys, map(tuple, batch.number.tolist()), batch.padded.tolist(), strict=True)
    return found


def interleaved(ranks: list[list[Batch]]) -> Seen:
    """The global sequence, of the batches of each rank."""
    return [one for step in zip(*ranks, strict=True) for batch in step for one in seen([batch])]


def ordinary(stream: ClipStream, workers: int = 0) -> "torch.utils.data.DataLoader[Batch]":
    return torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers)
