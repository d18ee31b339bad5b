"""The loader and its streams: filters, augmentation, ranks, unfinished builds, and invalid arguments."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from made import make_dataset, unfinish
from streams import ordinary, seen, stream_of

from motionshards.dataset.loader import make_loader
from motionshards.dataset.stream import KPlusOne, Pairs, Singles, World
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import INDEX
from motionshards.transforms.augment.augment import Augment


def test_augmentation_does_not_depend_on_ranks(data: Path) -> None:
    augment = Augment(flip=0.5, time_flip=0.5, brightness=0.1, hue=0.1)

    def batches(rank: int, size: int) -> list[torch.Tensor]:
        with make_loader(stream_of(data, world=World(rank, size)), augment=augment) as loader:
            return [batch.frames for batch in loader]

    alone = batches(0, 1)
    assert alone[0].shape == (6, 2, 3, 32, 32) and alone[0].dtype == torch.float32
    for whole, *parts in zip(alone, *(batches(rank, 3) for rank in range(3)), strict=True):
        assert torch.equal(whole, torch.cat(parts))


def test_time_flip_is_refused_for_views_with_meaningful_positions(data: Path) -> None:
    with pytest.raises(ConfigError, match="time_flip"):
        make_loader(stream_of(data, view=KPlusOne(3)), augment=Augment(time_flip=0.5))
    with pytest.raises(ConfigError, match="processes must be an integer of at least 1, not 0"):
        make_loader(stream_of(data), processes=0)


def test_committed_shards_of_an_unfinished_build_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = make_dataset(tmp_path)
    whole = {key for key, _, _ in seen(stream_of(data))}
    unfinish(data, 4)
    stream = stream_of(data, global_batch_size=5)
    assert stream.slots == 40 and "4 committed shards" in caplog.text
    with make_loader(stream) as loader:
        part = {key for key, _, _ in seen(loader)}
    assert len(part) == 40 and part < whole
    unfinish_more = sorted(data.glob("*/*.parquet"))
    for marker in unfinish_more:
        marker.unlink()
    with pytest.raises(DatasetError, match="no shard has been committed"):
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
    expected = {row["key"] for row in rows if row["blur"] > 50 and abs(row["yaw_deg"]) < 20}
    assert 0 < len(expected) < 60 and keys(split=None, where="blur > 50 and abs(yaw_deg) < 20") == expected
    people = ["id001", "id003", "nobody"]
    assert keys(split=None, identities=people) == {row["key"] for row in rows if row["identity"] in people}
    assert "1 identities have no clips that pass the filters: nobody" in caplog.text
    stream = stream_of(data, view=KPlusOne(6), split=None)
    assert stream.excluded == {"fewer than 7 frames": sum(row["n_frames"] < 7 for row in rows)}
    assert stream.slots == sum(row["n_frames"] >= 7 for row in rows)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "trian"}, "available splits: train"),
        ({"where": "blur > 1e9"}, "no clip passes"),
        ({"where": "blurr > 1"}, "blurr"),
        ({"global_batch_size": 0}, "global_batch_size must be an integer of at least 1"),
        ({"global_batch_size": 5, "world": World(0, 2)}, "global_batch_size 5 is not divisible by the world size 2"),
        ({"global_batch_size": 61}, "fewer than one batch of 61. Use a smaller batch"),
        (
            {"global_batch_size": 61, "where": "blur > 50"},
            "where='blur > 50' keeps 50 of 60 clips of split 'train'. Relax",
        ),
        ({"last": "keep"}, "last must be drop or pad, not 'keep'"),
        ({"on_error": "ignore"}, "must be substitute or raise"),
        ({"shuffle": "some"}, "shuffle must be one of .*, not 'some'"),
        ({"repeats": 0}, "repeats"),
        ({"view": Singles()}, "--add aus"),
        ({"view": Pairs(9)}, "fewer than 9 frames"),
        ({"view": Pairs(2, per="identity"), "shuffle": "shard"}, "one clip per identity"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(data: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        stream_of(data, **wrong)
    assert "\n" not in str(raised.value)


def test_a_missing_or_damaged_dataset_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no dataset"):
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
    with pytest.raises(ConfigError, match="rank must be an integer in"):
        stream_of(data)
    monkeypatch.delenv("RANK")  # as set by Lightning's launcher: not every process is rank 0
    with pytest.raises(ConfigError, match="WORLD_SIZE is 3, but RANK is not set"):
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
