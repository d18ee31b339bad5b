"""Many threads read more shards than may be open at a time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from motionshards.dataset.storage import shards
from motionshards.dataset.storage.remote import Retry
from motionshards.dataset.storage.shards import ShardFile, Shards, ShardSource

COUNT, BYTES = 4, 64


def test_threads_read_the_bytes_of_the_requested_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_MOST_OPEN", 1)  # so that threads close each other's files
    files = tuple(ShardFile(f"{number}.tar", BYTES, "") for number in range(COUNT))
    for number, file in enumerate(files):
        (tmp_path / file.path).write_bytes(bytes([number]) * BYTES)
    source = ShardSource(
        root=str(tmp_path),
        shards=files,
        remote=False,
        random=True,
        cache=None,
        cache_bytes=0,
        retry=Retry(),
        storage_options=None,
    )
    opened = Shards(source)
    with ThreadPoolExecutor(8) as pool:
        read = pool.map(lambda turn: (turn % COUNT, opened.read(turn % COUNT, 0, BYTES)), range(8000))
        assert [number for number, content in read if content != bytes([number]) * BYTES] == []
