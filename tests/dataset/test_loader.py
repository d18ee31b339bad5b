"""The loader: its memory, its processes, its state, and what it does with clips that cannot be read."""

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from checkout import ROOT
from made import make_dataset, unfinish
from streams import interleaved, ordinary, seen
from torchdata.stateful_dataloader import StatefulDataLoader

from motionshards.dataset.loader import Loader, make_loader
from motionshards.dataset.stream import ClipStream, KPlusOne, Pairs, Singles, World
from motionshards.schemas.errors import ConfigError, DatasetError, LoaderFailed
from motionshards.schemas.layout import INDEX
from motionshards.transforms.augment.augment import Augment


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 clips of 5 to 8 frames in 6 shards; do not change it."""
    return make_dataset(tmp_path_factory.mktemp("loader"))


def stream_of(data: Path, **options: Any) -> ClipStream:
    return ClipStream(data, **{"view": Pairs(2), "global_batch_size": 6, **options})


def pids(loader: Loader) -> list[int]:
    """The processes that read for a loader."""
    return [reader._process.pid for reader in loader._pump._readers]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_batches_that_are_kept_stay_what_they_are(data: Path) -> None:
    stream = stream_of(data)
    expected = [batch.frames.clone() for batch in ordinary(stream)]
    with make_loader(stream, ahead=2) as loader:
        kept = list(loader)
        one = next(iter(loader)).frames[0, 0]  # a part of a batch alone must hold its place in the ring too
        before = one.clone()
        for _ in range(3):
            assert len(list(loader)) == 10
        assert torch.equal(one, before)
    gc.collect()
    assert all(torch.equal(batch.frames, frames) for batch, frames in zip(kept, expected, strict=True))


def test_the_memory_of_batches_goes_round(data: Path) -> None:
    with make_loader(stream_of(data), ahead=2) as loader:
        places = {batch.frames.data_ptr() for _ in range(5) for batch in loader}
        assert len(places) <= 4 == loader._pump.ring.places


def test_a_state_taken_after_the_last_batch_and_after_the_pass(data: Path) -> None:
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
        loader.load_state_dict({**at_the_end, "epoch": 0, "slot": 60})  # as older versions wrote it
        assert seen(loader) == whole[1]


@pytest.mark.parametrize(("size", "batch", "processes"), [(1, 6, 1), (1, 2, 2), (2, 4, 1), (3, 12, 1)])
def test_a_loader_goes_on_with_a_state_of_another_world(data: Path, size: int, batch: int, processes: int) -> None:
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
def test_a_state_of_another_sequence_is_refused(data: Path, other: dict[str, Any], named: str) -> None:
    state = stream_of(data).state_dict()
    with pytest.raises(ConfigError, match=f"another sequence: .*{named} was"):
        stream_of(data, **other).load_state_dict(state)
    for broken in ({}, {**state, "slot": "x"}, {**state, "version": 99}):
        with pytest.raises(ConfigError, match="state"):
            stream_of(data).load_state_dict(broken)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("cut", [0, 1, 5, 9])
def test_torchdatas_stateful_loader_resumes_with_the_very_rest(data: Path, workers: int, cut: int) -> None:
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


def test_a_workers_state_is_not_taken_for_a_loaders(data: Path) -> None:
    state = {**stream_of(data).state_dict(), "yielded": 3}
    with make_loader(stream_of(data)) as loader, pytest.raises(ConfigError, match="worker"):
        loader.load_state_dict(state)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 0x40]))


def damage_frames(data: Path, clip: int) -> str:
    """Flip a byte in every frame of a clip; gives its key."""
    row = pq.read_table(data / INDEX).to_pylist()[clip]
    for member in row["members"]:
        if member["suffix"].endswith(".jpg"):
            flip(data / row["split"] / f"{row['shard']}.tar", member["offset"] + member["size"] // 2)
    return str(row["key"])


def cut_shard(data: Path, clip: int) -> str:
    """Cut a tar in the midst of a clip; gives its key."""
    row = pq.read_table(data / INDEX).to_pylist()[clip]
    os.truncate(data / row["split"] / f"{row['shard']}.tar", row["members"][0]["offset"] + 100)
    return str(row["key"])


def remove_shard(data: Path, clip: int) -> str:
    row = pq.read_table(data / INDEX).to_pylist()[clip]
    (data / row["split"] / f"{row['shard']}.tar").unlink()
    return str(row["key"])


def swap_shards(data: Path, clip: int) -> str:
    """Give a shard the bytes of another, so that the index does not fit it."""
    rows = pq.read_table(data / INDEX).to_pylist()
    mine, other = (data / rows[number]["split"] / f"{rows[number]['shard']}.tar" for number in (clip, (clip + 30) % 60))
    mine.write_bytes(other.read_bytes())
    return str(rows[clip]["key"])


FAULTS = [
    (damage_frames, 17, {"damaged"}, 1),
    (cut_shard, 24, {"truncated"}, 6),
    (remove_shard, 24, {"missing"}, 10),
    (swap_shards, 24, {"damaged", "truncated"}, 10),
]


@pytest.mark.parametrize(("harm", "clip", "reasons", "lost"), FAULTS)
@pytest.mark.parametrize("shuffle", ["global", "shard"])
def test_clips_that_cannot_be_read_are_replaced_counted_and_told(
    harm: Callable[[Path, int], str],
    clip: int,
    reasons: set[str],
    lost: int,
    shuffle: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = make_dataset(tmp_path / "data")

    def stream(rank: int = 0, size: int = 1, log: str = "bad.jsonl") -> ClipStream:
        return stream_of(data, shuffle=shuffle, world=World(rank, size), quarantine=tmp_path / log, window=3)

    before = seen(stream())
    harmed = harm(data, clip)
    end = (clip // 10 + 1) * 10
    rows = pq.read_table(data / INDEX).to_pylist()
    broken = {row["key"] for row in rows[end - lost : end]} if lost > 1 else {harmed}
    first = stream()
    with caplog.at_level(logging.WARNING, "motionshards"), make_loader(first) as loader:
        after = seen(loader)
    changed = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert len(changed) == lost == sum(before[number][0] in broken for number in changed)
    assert not broken & {after[number][0] for number in changed}
    assert set(first.faults.counts) <= reasons and first.faults.counts.total() >= lost
    written = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert {line["key"] for line in written} <= broken and len(written) == lost == len(caplog.records)
    assert harmed in caplog.text
    assert seen(ordinary(stream(log="workers.jsonl"), 2)) == after, "the same stand-ins in any process"
    halves = []
    for rank in range(2):
        with make_loader(stream(rank, 2, f"{rank}.jsonl"), threads=1) as loader:
            halves.append(list(loader))
    assert interleaved(halves) == after, "and on any rank"


@pytest.mark.parametrize(("harm", "clip", "reasons", "lost"), FAULTS)
def test_they_end_the_run_where_that_is_asked_for(
    harm: Callable[[Path, int], str], clip: int, reasons: set[str], lost: int, tmp_path: Path
) -> None:
    data = make_dataset(tmp_path / "data")
    harm(data, clip)
    with make_loader(stream_of(data, on_error="raise")) as loader:
        with pytest.raises(DatasetError, match="|".join(reasons)):
            list(loader)
        assert loader.state_dict()["slot"] < 60
    with pytest.raises(DatasetError, match=r"cannot be read: (damaged|truncated|missing)"):
        list(stream_of(data, on_error="raise"))


def test_a_state_taken_among_damaged_clips_gives_the_very_rest(tmp_path: Path) -> None:
    data = make_dataset(tmp_path)
    remove_shard(data, 24)
    with make_loader(stream_of(data)) as loader:
        whole = seen(loader)
        for cut in range(10):
            loader.set_epoch(0)
            assert seen(islice(loader, cut)) == whole[: cut * 6]
            loader.load_state_dict(loader.state_dict())
            assert seen(loader) == whole[cut * 6 :]


def test_when_nothing_can_be_read_the_run_ends(tmp_path: Path) -> None:
    data = make_dataset(tmp_path)
    for path in data.glob("train/*.tar"):
        path.unlink()
    with make_loader(stream_of(data)) as loader, pytest.raises(DatasetError, match="nor can 8 others in its place"):
        next(iter(loader))


def test_a_picture_that_is_none_though_its_crc_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import made

    right = made.encode_jpegs
    broken = iter([False] * 20 + [True])

    def encode(frames: np.ndarray, quality: int) -> tuple[bytes, ...]:
        jpegs = right(frames, quality)
        return tuple(jpeg[: len(jpeg) // 2] for jpeg in jpegs) if next(broken, False) else jpegs

    monkeypatch.setattr(made, "encode_jpegs", encode)
    stream = stream_of(make_dataset(tmp_path))
    with make_loader(stream) as loader:
        assert len(seen(loader)) == 60
    assert stream.faults.counts == {"undecodable": 1}


def test_a_process_that_is_killed_gives_a_clear_error(data: Path) -> None:
    with make_loader(stream_of(data, repeats=50), processes=2) as loader:
        batches = iter(loader)
        next(batches)
        os.kill(pids(loader)[1], signal.SIGKILL)
        with pytest.raises(LoaderFailed, match="killed by signal 9; signal 9 usually means that memory ran out"):
            list(islice(batches, 400))


def test_processes_end_with_the_loader_and_with_the_program(data: Path) -> None:
    loader = make_loader(stream_of(data), processes=2)
    next(iter(loader))
    ours = pids(loader)
    assert all(map(alive, ours))
    loader.close()
    assert not any(map(alive, ours))
    with pytest.raises(LoaderFailed):
        next(iter(loader))
    dropped = make_loader(stream_of(data))
    theirs = pids(dropped)
    del dropped
    gc.collect()
    assert not any(map(alive, theirs))


PROGRAM = """
    import os, signal, sys
    from motionshards.dataset.stream import ClipStream, Pairs
    from motionshards.dataset.loader import make_loader
    loader = make_loader(ClipStream(sys.argv[1], Pairs(2), global_batch_size=6), processes=2)
    for batch in loader:
        break
    print(*[reader._process.pid for reader in loader._pump._readers], flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    for batch in loader:
        pass
    print(len(loader))
"""


@pytest.mark.parametrize("end", ["kill", "return"])
def test_a_program_without_a_main_guard_in_another_directory(data: Path, tmp_path: Path, end: str) -> None:
    program = tmp_path / "train.py"
    program.write_text(textwrap.dedent(PROGRAM))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(program), str(data), end], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[1:]) == ((0, ["10"]) if end == "return" else (-9, [])), done.stderr
    deadline = time.monotonic() + 10
    while any(alive(int(pid)) for pid in lines[0].split()):
        assert time.monotonic() < deadline, "its processes go on without it"
        time.sleep(0.05)


def test_augmentation_does_not_depend_on_ranks(data: Path) -> None:
    augment = Augment(flip=0.5, time_flip=0.5, brightness=0.1, hue=0.1)

    def batches(rank: int, size: int) -> list[torch.Tensor]:
        with make_loader(stream_of(data, world=World(rank, size)), augment=augment) as loader:
            return [batch.frames for batch in loader]

    alone = batches(0, 1)
    assert alone[0].shape == (6, 2, 3, 32, 32) and alone[0].dtype == torch.float32
    for whole, *parts in zip(alone, *(batches(rank, 3) for rank in range(3)), strict=True):
        assert torch.equal(whole, torch.cat(parts))


def test_time_is_not_reversed_where_places_mean_something(data: Path) -> None:
    with pytest.raises(ConfigError, match="time_flip"):
        make_loader(stream_of(data, view=KPlusOne(3)), augment=Augment(time_flip=0.5))
    with pytest.raises(ConfigError, match="processes must be an integer of at least 1, not 0"):
        make_loader(stream_of(data), processes=0)


def test_an_unfinished_build_is_read_as_far_as_it_is_committed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = make_dataset(tmp_path)
    whole = {key for key, _, _ in seen(stream_of(data))}
    unfinish(data, 4)
    stream = stream_of(data, global_batch_size=5)
    assert stream.slots == 40 and "4 shards are committed" in caplog.text
    with make_loader(stream) as loader:
        part = {key for key, _, _ in seen(loader)}
    assert len(part) == 40 and part < whole
    unfinish_more = sorted(data.glob("*/*.parquet"))
    for marker in unfinish_more:
        marker.unlink()
    with pytest.raises(DatasetError, match="no shard is committed"):
        stream_of(data)


def test_filters_give_exact_counts_before_the_first_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = make_dataset(tmp_path, split=lambda clip: "test" if clip % 5 == 0 else "train")
    rows = pq.read_table(data / INDEX).to_pylist()

    def keys(**options: Any) -> set[str]:
        stream = stream_of(data, global_batch_size=1, **options)
        found = seen(stream)
        assert len(stream) == len(found)
        return {key for key, _, _ in found}

    assert keys() == {row["key"] for row in rows if row["split"] == "train"}
    assert keys(split="test") == {row["key"] for row in rows if row["split"] == "test"}
    assert keys(split=None) == {row["key"] for row in rows}
    wanted = {row["key"] for row in rows if row["blur"] > 50 and abs(row["yaw_deg"]) < 20}
    assert 0 < len(wanted) < 60 and keys(split=None, where="blur > 50 and abs(yaw_deg) < 20") == wanted
    people = ["id001", "id003", "nobody"]
    assert keys(split=None, identities=people) == {row["key"] for row in rows if row["identity"] in people}
    assert "1 identities have no clip that passes: nobody" in caplog.text
    stream = stream_of(data, view=KPlusOne(6), split=None)
    assert stream.excluded == {"fewer than 7 frames": sum(row["n_frames"] < 7 for row in rows)}
    assert stream.slots == sum(row["n_frames"] >= 7 for row in rows)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"split": "trian"}, "splits are train"),
        ({"where": "blur > 1e9"}, "no clip passes"),
        ({"where": "blurr > 1"}, "blurr"),
        ({"global_batch_size": 0}, "global_batch_size must be an integer of at least 1"),
        ({"global_batch_size": 5, "world": World(0, 2)}, "2 ranks cannot share"),
        ({"global_batch_size": 61}, "last='pad'"),
        ({"last": "keep"}, "must be drop or pad"),
        ({"on_error": "ignore"}, "must be substitute or raise"),
        ({"shuffle": "some"}, "shuffle is 'some'"),
        ({"repeats": 0}, "repeats"),
        ({"view": Singles()}, "--add aus"),
        ({"view": Pairs(9)}, "fewer than 9 frames"),
        ({"view": Pairs(2, per="identity"), "shuffle": "shard"}, "one clip per identity"),
    ],
)
def test_arguments_that_cannot_be_met_are_told_in_a_line(data: Path, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        stream_of(data, **wrong)
    assert "\n" not in str(raised.value)


def test_what_is_no_data_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no data set"):
        stream_of(tmp_path)
    data = make_dataset(tmp_path / "data", 10)
    (data / INDEX).write_bytes(b"no parquet")
    with pytest.raises(DatasetError, match=r"index\.parquet"):
        stream_of(data)


def test_rank_and_world_size_are_those_of_torchrun(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert stream_of(data).world == World(1, 3)
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(ConfigError, match="rank 3 of a world of 3"):
        stream_of(data)
    monkeypatch.delenv("RANK")  # as Lightning's launcher leaves it: not every process may be rank 0
    with pytest.raises(ConfigError, match="WORLD_SIZE is 3 and RANK is not set"):
        stream_of(data)


@pytest.mark.gpu
def test_batches_on_a_gpu_are_those_of_the_host(data: Path) -> None:
    stream = stream_of(data)
    expected = [batch.frames.clone() for batch in ordinary(stream)]
    with make_loader(stream, device="cuda") as loader:
        for _ in range(3):
            loader.set_epoch(0)
            kept = list(loader)
            assert all(torch.equal(batch.frames.cpu(), frames) for batch, frames in zip(kept, expected, strict=True))
