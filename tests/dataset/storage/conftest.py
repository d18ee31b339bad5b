"""Fixtures for the storage tests."""

from pathlib import Path

import pytest
from cached_shards import SIZE

from motionshards.dataset.storage.cache import ShardCache


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    """Room for three shards."""
    return ShardCache(tmp_path / "cache", 3 * SIZE)
