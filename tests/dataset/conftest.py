"""Datasets that many tests read and none changes."""

from pathlib import Path

import pytest
from made import make_dataset

from motionshards.dataset.index import Dataset, Sample


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 clips of 5 to 8 frames of 7 identities in 6 shards; read-only."""
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def data_with_aus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with action units; read-only."""
    return make_dataset(tmp_path_factory.mktemp("data-with-aus"), aus=True)


@pytest.fixture(scope="session")
def samples(data_with_aus: Path) -> dict[str, Sample]:
    """Its samples by their keys."""
    return {sample.key: sample for sample in Dataset.open(data_with_aus).samples()}
