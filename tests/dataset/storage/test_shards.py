"""Shards that many threads read while more are expected than may be open."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from motionshards.dataset.storage import shards
from motionshards.dataset.storage.remote import Retry
from motionshards.dataset.storage.shards import Place, ShardFile, Shards

COUNT, BYTES = 4, 64


def test_threads_get_the_bytes_of_the_requested_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_MOST_OPEN", 1)  # so that every thread closes the files of the others
    files = tuple(ShardFile(f"{number}.tar", BYTES, "") for number in range(COUNT))
    for number, file in enumerate(files):
        (tmp_path / file.path).write_bytes(bytes([number]) * BYTES)
    place = Place(
        root=str(tmp_path),
        shards=files,
        remote=False,
        random=True,
        cache=None,
        cache_bytes=0,
        retry=Retry(),
        storage_options=None,
    )
    opened = Shards(place)
    with ThreadPoolExecutor(8) as pool:
        read = pool.map(lambda turn: (turn % COUNT, opened.read(turn % COUNT, 0, BYTES)), range(8000))
        assert [number for number, content in read if content != bytes([number]) * BYTES] == []
