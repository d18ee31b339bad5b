"""Fixtures for the storage tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cached_shards import SIZE
from file_server import FileServer, serving
from remote_files import FILE, QUICK, SMALL

from motionshards.dataset.storage.cache import ShardCache
from motionshards.dataset.storage.remote import Remote


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    """A cache for three shards."""
    return ShardCache(tmp_path / "cache", 3 * SIZE)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as served:
        served.files |= {"/data/train/a.tar": FILE, "/data/dataset.json": SMALL}
        yield served


@pytest.fixture
def remote(server: FileServer) -> Remote:
    return Remote(f"{server.url}/data", QUICK)
