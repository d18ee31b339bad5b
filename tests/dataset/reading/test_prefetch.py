"""Prefetching the frames of clips that will be read several times."""

from pathlib import Path

import numpy as np
from made import make_dataset

from motionshards.dataset.storage.shards import Shards
from motionshards.dataset.stream import ClipStream, Pairs


class Recorded(Shards):
    """Shards that record what is prefetched."""

    expected: list[tuple[int, int, int]]

    def expect(self, shard: int, start: int, stop: int) -> None:
        super().expect(shard, start, stop)
        self.expected.append((shard, start, stop))


def test_each_clip_is_prefetched_once_with_all_its_frames(tmp_path: Path) -> None:
    stream = ClipStream(make_dataset(tmp_path, 6, per_shard=3), Pairs(2), global_batch_size=6, repeats=4)
    shards = Recorded(stream.shard_source)
    shards.expected = []
    reader = stream.reader(shards)
    request, _ = stream.requests(0, 0, steps=4)
    block = np.empty(stream.layout().bytes * 4, np.uint8)
    for step in range(4):
        out = stream.layout().views(block.data, step * stream.layout().bytes)
        reader.read(reader.plan(request.part(6 * step, 6), set(out)), out, 0, 6)
    assert sorted(np.unique(request.clip[:, 0])) == list(range(6))
    assert len(shards.expected) == 6
    arrays = stream.catalog.arrays
    for shard, start, stop in shards.expected:
        inside = (arrays["frame_offset"] >= start) & (arrays["frame_offset"] + arrays["frame_size"] <= stop)
        clip = np.flatnonzero(arrays["shard"] == shard)
        of_shard = np.concatenate([np.arange(arrays["first"][one], arrays["first"][one + 1]) for one in clip])
        frames = np.intersect1d(np.flatnonzero(inside), of_shard)
        assert any(np.array_equal(frames, np.arange(arrays["first"][one], arrays["first"][one + 1])) for one in clip)
