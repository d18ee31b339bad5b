"""Assigns an epoch to each pass over a stream, consistently in all workers of a DataLoader and without a lock.

The workers of a pass start at different moments and cannot ask the main process, so a shared counter would let a late worker
take the next epoch. Instead each worker records in shared memory which pass it joined. A pass is identified by the base seed
that a DataLoader draws for its workers, and by how many passes a persistent worker has had with it.
"""

import torch

from motionshards.dataset.reading.order import I64
from motionshards.dataset.reading.progress import Progress

_WORKERS = 256
_HERE = _WORKERS  # the row for passes without workers
# Passes that each row remembers, so that a late worker still finds its pass after others have started the next one.
_KEPT = 4
_KEY, _NUMBER, _EPOCH, _SLOT, _CHECK = range(5)


class Passes:
    """The passes over a stream, in memory shared with its copies in other processes. Every started pass is an epoch."""

    def __init__(self) -> None:
        # A row is valid while _KEY equals _CHECK and is not 0; _NUMBER counts passes from 1.
        self._table = torch.zeros(_WORKERS + 1, _KEPT, 5, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        # The position set last: number of the last pass before it, and epoch and slot of the next pass.
        self._set = torch.zeros(3, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._joined = 0

    def set(self, start: Progress) -> None:
        """Make the next pass start at `start`."""
        self._set.copy_(torch.tensor([_last(self._rows())[0], start.epoch, start.slot]))

    @property
    def upcoming(self) -> Progress:
        """The start of the next pass."""
        return self._next(self._rows())

    def begin(self, start: Progress) -> None:
        """Record the start of a pass without workers."""
        self._joined += 1
        self._record(_HERE, hash((-1, self._joined)), _last(self._rows())[0] + 1, start)

    def join(self, worker: int, base_seed: int, resumed: Progress | None = None) -> Progress:
        """Join a worker to the current pass of its DataLoader; returns the start of the pass.

        resumed: where this worker resumes, if its own state was loaded
        """
        row, self._joined = worker % _WORKERS, self._joined + 1
        rows = self._rows()
        key = self._key(row, base_seed)
        same = rows[rows[:, _KEY] == key]
        if len(same):
            number, start = int(same[0, _NUMBER]), Progress(int(same[0, _EPOCH]), int(same[0, _SLOT]))
        else:
            number, start = _last(rows)[0] + 1, self._next(rows)
        self._record(row, key, number, resumed or start)
        return resumed or start

    def _key(self, row: int, base_seed: int) -> int:
        """Key of a pass. A repeated base seed, as after `torch.manual_seed`, identifies a new pass."""
        had, again = set(self._table[row, :, _KEY].tolist()), 0
        while (key := hash((base_seed, self._joined, again)) or 1) in had:
            again += 1
        return key

    def _next(self, rows: I64) -> Progress:
        last, epoch = _last(rows)
        after, set_epoch, set_slot = self._set.tolist()
        return Progress(epoch + 1) if last > after else Progress(set_epoch, set_slot)

    def _rows(self) -> I64:
        """A snapshot of the valid rows, int64 [n,5]."""
        rows: I64 = self._table.numpy().reshape(-1, 5).copy()
        valid: I64 = rows[(rows[:, _KEY] != 0) & (rows[:, _KEY] == rows[:, _CHECK])]
        return valid

    def _record(self, row: int, key: int, number: int, start: Progress) -> None:
        kept = self._table.numpy()[row]
        oldest = kept[kept[:, _NUMBER].argmin()]
        oldest[_CHECK] = 0
        oldest[[_NUMBER, _EPOCH, _SLOT]] = number, start.epoch, start.slot
        oldest[_KEY] = oldest[_CHECK] = key


def _last(rows: I64) -> tuple[int, int]:
    """Number and epoch of the last pass; 0, 0 before the first."""
    if not len(rows):
        return 0, 0
    last = rows[rows[:, _NUMBER].argmax()]
    return int(last[_NUMBER]), int(last[_EPOCH])
