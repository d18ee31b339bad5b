"""States of loaders and streams: mid-epoch resumption in any world, and states that are refused."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from streams import interleaved, seen, stream_of
from torchdata.stateful_dataloader import StatefulDataLoader

from motionshards.dataset.loader import make_loader
from motionshards.dataset.stream import KPlusOne, World
from motionshards.schemas.errors import ConfigError


def test_states_saved_after_the_last_batch_and_after_the_pass(data: Path) -> None:
    stream = stream_of(data)
    with make_loader(stream) as loader:
        whole = [seen(loader) for _ in range(2)]
        assert loader.state_dict()["epoch"] == 2
        loader.set_epoch(0)
        batches = iter(loader)
        for _ in range(10):
            next(batches)
        at_the_end = loader.state_dict()
        assert (at_the_end["epoch"], at_the_end["slot"]) == (1, 0)
        assert seen(loader) == whole[1]
        loader.load_state_dict(json.loads(json.dumps(at_the_end)))
        assert seen(loader) == whole[1]
        loader.load_state_dict({**at_the_end, "epoch": 0, "slot": 60})  # as in older versions
        assert seen(loader) == whole[1]


@pytest.mark.parametrize(("size", "batch", "processes"), [(1, 6, 1), (1, 2, 2), (2, 4, 1), (3, 12, 1)])
def test_a_loader_resumes_from_a_state_of_another_world(data: Path, size: int, batch: int, processes: int) -> None:
    with make_loader(stream_of(data)) as first:
        whole = seen(first)
        first.set_epoch(0)
        assert seen(islice(first, 4)) == whole[:24]
        state = first.state_dict()
    parts = []
    for rank in range(size):
        with make_loader(stream_of(data, global_batch_size=batch, world=World(rank, size)), processes=processes) as loader:
            loader.load_state_dict(state)
            parts.append(list(loader))
            assert loader.state_dict()["epoch"] == 1
    assert interleaved(parts) == whole[24:]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"shuffle": "shard"}, "shuffle"),
        ({"where": "n_frames > 5"}, "clips"),
        ({"view": KPlusOne(2)}, "view"),
    ],
)
def test_a_state_with_different_settings_is_refused(data: Path, other: dict[str, Any], named: str) -> None:
    state = stream_of(data).state_dict()
    with pytest.raises(ConfigError, match=f"different settings .*{named}: "):
        stream_of(data, **other).load_state_dict(state)
    for broken in ({}, {**state, "slot": "x"}, {**state, "version": 99}):
        with pytest.raises(ConfigError, match="state"):
            stream_of(data).load_state_dict(broken)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("cut", [0, 1, 5, 9])
def test_torchdatas_stateful_loader_resumes_with_exactly_the_remaining_batches(data: Path, workers: int, cut: int) -> None:
    def loader() -> "StatefulDataLoader[Any]":
        return StatefulDataLoader(stream_of(data), batch_size=None, num_workers=workers)

    whole = seen(loader())
    first = loader()
    batches = iter(first)
    assert seen(islice(batches, cut)) == whole[: cut * 6]
    state = first.state_dict()
    del batches
    second = loader()
    second.load_state_dict(state)
    assert seen(second) == whole[cut * 6 :]


def test_a_state_of_a_worker_is_refused_by_the_loader(data: Path) -> None:
    state = {**stream_of(data).state_dict(), "yielded": 3}
    with make_loader(stream_of(data)) as loader, pytest.raises(ConfigError, match="worker"):
        loader.load_state_dict(state)
