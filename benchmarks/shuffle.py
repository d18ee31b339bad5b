"""How well shuffled orders mix: those of streams and of webdataset's buffer over shuffled shards, relative to independent draws.

    python -m benchmarks.shuffle [--clips 1100000]

Two figures per order, over batches of 32, means of eight epochs. `neighbors`: number of pairs of a batch from the same video,
relative to draws from all clips (1 is ideal, more is worse; random variation is about 0.05). `moved`: how far clips that were
adjacent in one epoch are apart in the next, relative to a third of the epoch, as in independent orders (1 is ideal, less is
worse). Two corpora: clips of a video adjacent, as on a disk, and in random order, as planned by `dataset.build`.
"""

import itertools
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import webdataset.filters
from cyclopts.types import PositiveInt
from numpy.typing import NDArray

from benchmarks.report import Report, ReportOptions, benchmark
from motionshards.dataset.reading.order import Order

BATCH, CLIPS_PER_SHARD, CLIPS_PER_VIDEO, EPOCHS = 32, 256, 7, 8
Draw = Callable[[int], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class ShuffleOptions(ReportOptions):
    """Options of the benchmark."""

    clips: PositiveInt = 1_100_000
    """Number of clips of the corpus."""


def motionshards(shuffle: str, clips: int, window: int = 8) -> Draw:
    """The order of a stream."""
    order = Order(np.arange(clips) // CLIPS_PER_SHARD, 0, shuffle, 1, window)
    return lambda epoch: order.slots(epoch, np.arange(clips)).unit


def webdatasets(clips: int, buffer: int) -> Draw:
    """Shuffled shards, read one after the other, through webdataset's own buffer."""

    def draw(epoch: int) -> NDArray[np.int64]:
        rng = random.Random(epoch)
        shards = list(range(-(-clips // CLIPS_PER_SHARD)))
        rng.shuffle(shards)

        def read() -> Iterator[int]:
            for shard in shards:
                yield from range(shard * CLIPS_PER_SHARD, min(clips, (shard + 1) * CLIPS_PER_SHARD))

        return np.fromiter(webdataset.filters._shuffle(read(), bufsize=buffer, initial=buffer, rng=rng), np.int64, clips)

    return draw


def neighbors(order: NDArray[np.int64], video: NDArray[np.int64]) -> float:
    """Number of pairs of a batch from the same video, relative to independent draws."""
    batches = np.sort(video[order[: len(order) // BATCH * BATCH]].reshape(-1, BATCH), axis=1)
    same = sum(int((batches[:, apart:] == batches[:, :-apart]).sum()) for apart in range(1, CLIPS_PER_VIDEO))
    expected = len(batches) * BATCH * (BATCH - 1) / 2 * (CLIPS_PER_VIDEO - 1) / (len(order) - 1)
    return same / expected


def moved(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Mean distance in the second epoch of clips that were adjacent in the first, relative to independent orders."""
    place = np.empty(len(second), np.int64)
    place[second] = np.arange(len(second))
    return float(np.abs(np.diff(place[first])).mean() / (len(second) / 3))


@benchmark("shuffle")
def main(options: ShuffleOptions) -> None:
    """Measure how well shuffled orders mix: those of streams, and of webdataset's buffer over shuffled shards."""
    clips = options.clips
    grouped = np.arange(clips) // CLIPS_PER_VIDEO
    planned = np.random.default_rng(0).permutation(grouped)
    draws = {
        "ours, global": motionshards("global", clips),
        "ours, shard, window 8": motionshards("shard", clips),
        "ours, shard, window 2": motionshards("shard", clips, 2),
        "webdataset, buffer 1,000": webdatasets(clips, 1000),
        "webdataset, buffer 10,000": webdatasets(clips, 10_000),
    }
    report = Report("benchmarks/shuffle.py: mixing of shuffled orders", options)
    report.note(f"{clips:,} clips, shards of {CLIPS_PER_SHARD}, {CLIPS_PER_VIDEO} clips per video, batches of {BATCH}.")
    report.note((__doc__ or "").rpartition("\n\n")[2].strip())
    figures = {}
    for name, draw in draws.items():
        drawn = [draw(epoch) for epoch in range(EPOCHS)]
        figures[name] = (
            float(np.mean([neighbors(order, grouped) for order in drawn])),
            float(np.mean([neighbors(order, planned) for order in drawn])),
            float(np.mean([moved(one, other) for one, other in itertools.pairwise(drawn)])),
        )
    columns = ("order", "neighbors, clips of a video together", "neighbors, as planned", "moved")
    report.table("Mixing", columns, [(name, *values) for name, values in figures.items()])
    best = figures["ours, global"]
    report.finish(
        {f"{name}: {columns[place + 1]}": one / best[place] for name, row in figures.items() for place, one in enumerate(row)}
    )


if __name__ == "__main__":
    sys.exit(main())
