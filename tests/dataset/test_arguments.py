"""Invalid arguments of streams and loaders are reported in one line with the expected values."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import make_dataset
from streams import seen

from motionshards.dataset.index import Dataset
from motionshards.dataset.loader import make_loader
from motionshards.dataset.stream import ClipStream, Pairs, World
from motionshards.schemas.errors import ConfigError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 clips in 2 shards; read-only."""
    return make_dataset(tmp_path_factory.mktemp("arguments"), 20)


def stream_of(data: Any, **options: Any) -> ClipStream:
    return ClipStream(data, **{"view": Pairs(2), "global_batch_size": 5, **options})


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"view": 2}, r"view must be a view such as Pairs\(2\), not 2"),
        ({"view": "pairs"}, r"view must be a view such as Pairs\(2\), not 'pairs'"),
        ({"view": Pairs}, r"view must be an instance, not the class Pairs: write Pairs\(…\)"),
        ({"identities": "id001"}, r"identities must be a list of strings, not the string 'id001': write \['id001'\]"),
        ({"identities": 1}, "identities must be a list of strings, not 1"),
        ({"identities": ["id001", 2]}, "identities must be a list of strings, not of 2"),
        ({"seed": None}, "seed must be an integer of at least 0, not None"),
        ({"seed": -1}, "seed must be an integer of at least 0, not -1"),
        ({"seed": 1 << 63}, "seed must be below"),
        ({"seed": 0.5}, "seed must be an integer"),
        ({"global_batch_size": "40"}, "global_batch_size must be an integer of at least 1, not '40'"),
        ({"global_batch_size": True}, "global_batch_size must be an integer"),
        ({"split": ["train"]}, r"split must be a string such as 'train', or None, not \['train'\]"),
        ({"where": 3}, "where must be a string such as 'blur > 50', or None, not 3"),
        ({"shuffle": 2}, "shuffle must be one of global, shard, none, True or False, not 2"),
        ({"shuffle": ["global"]}, "shuffle must be one of"),
        ({"repeats": "2"}, "repeats must be an integer of at least 1, not '2'"),
        ({"window": 0}, "window must be an integer of at least 1, not 0"),
        ({"world": (0, 1)}, r"world must be World\(rank, size\), not \(0, 1\)"),
        ({"last": None}, "last must be drop or pad, not None"),
        ({"cache_bytes": "1GB"}, "cache_bytes must be an integer"),
    ],
)
def test_an_invalid_argument_of_a_stream_is_reported_in_one_line(data: Path, wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as raised:
        stream_of(data, **wrong)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"device": "meta"}, "device is 'meta', which is not available on this machine"),
        ({"device": "gpu"}, "device must be a torch device such as 'cpu', 'cuda' or 'cuda:1', not 'gpu'"),
        ({"device": None}, "device must be a torch device"),
        ({"processes": -1}, "processes must be an integer of at least 1, not -1"),
        ({"processes": 1.5}, "processes must be an integer"),
        ({"threads": 0}, "threads must be an integer"),
        ({"ahead": "2"}, "ahead must be an integer"),
        ({"augment": lambda batch: batch}, "augment must be an Augment or None"),
    ],
)
def test_an_invalid_argument_of_a_loader_is_reported_in_one_line(data: Path, wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as raised:
        make_loader(stream_of(data), **wrong)
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is available")
def test_missing_cuda_is_reported_in_one_line(data: Path) -> None:
    for device in ("cuda", "cuda:1", torch.device("cuda")):
        with pytest.raises(ConfigError, match="CUDA is not available on this machine"):
            make_loader(stream_of(data), device=device)


def test_invalid_sources_and_streams_are_reported_in_one_line(data: Path) -> None:
    with pytest.raises(ConfigError, match="source must be a path"):
        stream_of(None)
    with pytest.raises(ConfigError, match="make_loader takes a ClipStream"):
        make_loader(data)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="takes the path of a directory, not 3"):
        Dataset.open(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="takes the path of a directory, not 'https://"):
        Dataset.open("https://host/data")


@pytest.mark.parametrize("epoch", [-1, None, "1", 0.5])
def test_invalid_epochs_are_reported(data: Path, epoch: Any) -> None:
    stream = stream_of(data)
    with pytest.raises(ConfigError, match="epoch must be an integer of at least 0"):
        stream.set_epoch(epoch)
    with make_loader(stream, processes=1) as loader, pytest.raises(ConfigError, match="epoch must be an integer"):
        loader.set_epoch(epoch)


def test_shuffle_accepts_true_and_false_like_torch(data: Path) -> None:
    unshuffled = seen(stream_of(data, shuffle=False))
    assert unshuffled == seen(stream_of(data, shuffle="none"))
    assert [key for key, _, _ in unshuffled] == list(Dataset.open(str(data)).index(["key"])["key"].to_pylist())
    default = seen(stream_of(data))
    assert default == seen(stream_of(data, shuffle=True)) == seen(stream_of(data, shuffle="global")) != unshuffled


def test_numpy_integers_string_paths_and_iterables_of_names_are_accepted(data: Path) -> None:
    stream = stream_of(str(data), seed=np.int64(3), global_batch_size=np.int32(5), identities=iter(["id001", "id002"]))
    assert seen(stream) == seen(stream_of(data, seed=3, identities=("id002", "id001"), world=World()))
    assert len(Dataset.open(str(data))) == len(Dataset.open(data)) == 20
