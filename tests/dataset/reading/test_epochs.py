"""Each pass over a loader or stream is the next epoch, however the previous one ended, with every kind of loader."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from made import make_dataset
from streams import Seen, seen
from torch.utils.data import DataLoader, get_worker_info
from torchdata.stateful_dataloader import StatefulDataLoader

from motionshards.dataset.loader import make_loader
from motionshards.dataset.reading.passes import Passes
from motionshards.dataset.reading.progress import Progress
from motionshards.dataset.stream import Batch, ClipStream, Pairs
from motionshards.schemas.errors import ConfigError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 clips, 5 batches of 6; read-only."""
    return make_dataset(tmp_path_factory.mktemp("epochs"), 30)


def stream_of(data: Path) -> ClipStream:
    return ClipStream(data, Pairs(2), global_batch_size=6)


@pytest.fixture(scope="module")
def epochs(data: Path) -> list[Seen]:
    """The samples of six epochs."""
    found = []
    for epoch in range(6):
        stream = stream_of(data)
        stream.set_epoch(epoch)
        found.append(seen(stream))
    assert len(set(map(tuple, found))) == 6
    return found


@pytest.fixture(params=["loader", "stream", "DataLoader"])
def batches(request: pytest.FixtureRequest, data: Path) -> Iterator[Any]:
    """Iterables that yield batches in the consuming process, all with `set_epoch`."""
    stream = stream_of(data)
    if request.param == "loader":
        with make_loader(stream, processes=1) as loader:
            yield loader
    else:
        yield DataLoader(stream) if request.param == "DataLoader" else stream


def by_next(batches: Any) -> Seen:
    iterator = iter(batches)
    return seen([next(iterator) for _ in range(len(batches))])


def by_zip(batches: Any) -> Seen:
    return seen([batch for _, batch in zip(range(len(batches)), batches, strict=False)])


def by_break(batches: Any) -> Seen:
    for batch in batches:
        found = seen([batch])
        break
    return found


def by_exception(batches: Any) -> Seen:
    found: Seen = []
    with suppress(KeyError):
        for batch in batches:
            found += seen([batch])
            raise KeyError
    return found


def by_close(batches: Any) -> Seen:
    iterator = iter(batches)
    found = seen([next(iterator)])
    del iterator
    return found


CONSUMERS = [seen, by_next, by_zip, by_break, by_exception, by_close, lambda one: seen(islice(one, 3))]


@pytest.mark.parametrize("consume", CONSUMERS)
def test_a_pass_that_yielded_a_batch_is_an_epoch(batches: Any, epochs: list[Seen], consume: Callable[[Any], Seen]) -> None:
    for epoch in range(3):
        found = consume(batches)
        assert found == epochs[epoch][: len(found)]


def test_an_iterator_that_yielded_nothing_does_not_count_as_an_epoch(batches: Any, epochs: list[Seen]) -> None:
    kept = [iter(batches), iter(batches)]
    assert seen(islice(batches, 0)) == []
    assert seen(batches) == epochs[0]
    assert seen(kept[1]) == epochs[1], "an iterator starts an epoch with its first batch"


def test_an_older_iterator_is_invalidated_and_takes_no_batches_from_the_newer(data: Path, epochs: list[Seen]) -> None:
    with make_loader(stream_of(data), processes=1) as loader:
        older, newer = iter(loader), iter(loader)
        assert seen(islice(older, 1)) == epochs[0][:6]
        found = seen(islice(newer, 2))
        with pytest.raises(RuntimeError, match="invalidated by a newer one"):
            next(older)
        assert found + seen(newer) == epochs[1]


def test_a_state_after_an_abandoned_pass_resumes_that_epoch(data: Path, epochs: list[Seen]) -> None:
    with make_loader(stream_of(data), processes=1, ahead=3) as loader, make_loader(stream_of(data), processes=1) as resumed:
        for epoch in range(2):
            seen(islice(loader, 2))
            resumed.load_state_dict(loader.state_dict())
            assert seen(islice(resumed, 1)) == epochs[epoch][12:18], "prefetched batches do not count"
            assert by_break(resumed) == epochs[epoch + 1][:6], "and the next pass is the next epoch"
        loader.set_epoch(4)
        assert seen(loader) == epochs[4] and loader.state_dict()["epoch"] == 5


def test_set_epoch_keeps_the_position_of_a_state_of_the_same_epoch(batches: Any, epochs: list[Seen]) -> None:
    stream = getattr(batches, "dataset", batches)
    stream.set_epoch(3)
    assert seen(islice(batches, 2)) == epochs[3][:12]
    state = stream.state_dict()
    for epoch, expected in ((3, epochs[3][12:]), (2, epochs[2]), (0, epochs[0])):
        stream.load_state_dict(state)
        stream.set_epoch(epoch)  # as in resumed training loops: for epoch in range(3, epochs): set_epoch(epoch)
        assert seen(batches) == expected
    assert seen(batches) == epochs[1]


def test_the_state_after_the_last_batch_is_the_start_of_the_next_epoch(batches: Any, epochs: list[Seen]) -> None:
    stream = getattr(batches, "dataset", batches)
    by_next(batches)
    state = stream.state_dict()
    assert (state["epoch"], state["slot"]) == (1, 0)
    stream.load_state_dict(state)
    assert seen(batches) == epochs[1]
    with pytest.raises(ConfigError, match="worker"):
        stream.load_state_dict({**state, "yielded": 1})


class LateWorker(ClipStream):
    """A stream whose second worker starts long after the first."""

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        if info is not None and info.id == 1:
            threading.Event().wait(0.3)
        return super().__iter__()


def three_passes(loader: Any, epochs: list[Seen]) -> None:
    """Three passes: complete, left after the first batch, complete."""
    assert seen(loader) == epochs[0]
    assert by_break(loader) == epochs[1][:6]
    assert seen(loader) == epochs[2]


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("reseeded", [False, True])
def test_all_workers_of_a_pass_read_the_same_epoch(data: Path, epochs: list[Seen], persistent: bool, reseeded: bool) -> None:
    stream = LateWorker(data, Pairs(2), global_batch_size=6)
    loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=persistent)

    class Reseeding:
        """The workers of all passes get the same base seed."""

        def __iter__(self) -> Iterator[Batch]:
            torch.manual_seed(1)
            return iter(loader)

    three_passes(Reseeding() if reseeded else loader, epochs)
    stream.set_epoch(5)
    assert seen(loader) == epochs[5]
    stream.set_epoch(1)
    assert by_break(loader) == epochs[1][:6]
    assert seen(loader) == epochs[2]


@pytest.mark.slow
@pytest.mark.parametrize("persistent", [False, True])
def test_spawned_workers_read_the_same_epoch(data: Path, epochs: list[Seen], persistent: bool) -> None:
    settings = {"num_workers": 2, "multiprocessing_context": "spawn", "persistent_workers": persistent}
    three_passes(DataLoader(stream_of(data), batch_size=None, **settings), epochs)  # type: ignore[arg-type]


def test_a_state_loaded_into_the_stream_is_resumed_only_by_the_first_pass_of_workers(data: Path, epochs: list[Seen]) -> None:
    stream = stream_of(data)
    stream.load_state_dict({**stream.state_dict(), "epoch": 2, "slot": 12})
    loader = DataLoader(stream, batch_size=None, num_workers=2)
    assert seen(loader) == epochs[2][12:]
    assert seen(loader) == epochs[3]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_torchdatas_loader_resumes_in_any_epoch_and_continues_with_the_next(data: Path, epochs: list[Seen], workers: int) -> None:
    def loader() -> "StatefulDataLoader[Any]":
        return StatefulDataLoader(stream_of(data), batch_size=None, num_workers=workers)

    first = loader()
    assert seen(first) == epochs[0]
    at_the_end = first.state_dict()
    assert seen(islice(first, 2)) == epochs[1][:12]
    state = first.state_dict()
    for saved, expected in ((state, epochs[1][12:]), (at_the_end, epochs[1])):
        second = loader()
        second.load_state_dict(saved)
        assert seen(second) == expected
        assert seen(second) == epochs[2]
    first.load_state_dict(state)  # although the loader has prefetched more
    assert (seen(first), seen(first)) == (epochs[1][12:], epochs[2])


def test_workers_agree_on_a_pass_in_any_order_of_arrival() -> None:
    passes = Passes()
    assert passes.join(0, 11) == Progress(0)
    assert passes.join(0, 22) == Progress(1), "the next pass starts before a worker of the first has started"
    passes.set(Progress(7, 30))
    assert passes.upcoming == Progress(7, 30)


def test_a_stream_is_not_batched_again(data: Path) -> None:
    assert seen(DataLoader(stream_of(data))) == seen(stream_of(data))
    with pytest.raises(ConfigError, match=r"use DataLoader\(stream, batch_size=None\), not 2"):
        list(DataLoader(stream_of(data), batch_size=2))


def test_pinned_memory(data: Path) -> None:
    batch = next(iter(stream_of(data)))
    if torch.accelerator.is_available():
        pinned = next(iter(DataLoader(stream_of(data), batch_size=None, pin_memory=True)))
        assert all(tensor.is_pinned() for tensor in pinned.tensors().values())
        assert seen([batch.pin_memory()]) == seen([batch])
    else:
        with pytest.raises(RuntimeError):  # torch's own error shows that DataLoader pins
            batch.pin_memory()
    assert seen(DataLoader(stream_of(data), batch_size=None, pin_memory=True)) == seen(stream_of(data))
