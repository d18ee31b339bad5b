"""Unreadable clips: substituted, counted and logged in the same way in every process, or an error."""

import json
import logging
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made import make_dataset
from streams import interleaved, ordinary, seen, stream_of

from motionshards.dataset.loader import make_loader
from motionshards.dataset.stream import ClipStream, World
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import INDEX


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 0x40]))


def damage_frames(data: Path, clip: int) -> str:
    """Flip a byte in every frame of a clip; returns its key."""
    row = pq.read_table(data / INDEX).to_pylist()[clip]
    for member in row["members"]:
        if member["suffix"].endswith(".jpg"):
            flip(data / row["split"] / f"{row['shard']}.tar", member["offset"] + member["size"] // 2)
    return str(row["key"])


def cut_shard(data: Path, clip: int) -> str:
    """Truncate a tar in the middle of a clip; returns its key."""
    row = pq.read_table(data / INDEX).to_pylist()[clip]
    os.truncate(data / row["split"] / f"{row['shard']}.tar", row["members"][0]["offset"] + 100)
    return str(row["key"])


def remove_shard(data: Path, clip: int) -> str:
    row = pq.read_table(data / INDEX).to_pylist()[clip]
    (data / row["split"] / f"{row['shard']}.tar").unlink()
    return str(row["key"])


def swap_shards(data: Path, clip: int) -> str:
    """Swap the bytes of two shards, so that the index does not match."""
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
def test_unreadable_clips_are_substituted_counted_and_logged(
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
    assert seen(ordinary(stream(log="workers.jsonl"), 2)) == after, "the same substitutes in any process"
    halves = []
    for rank in range(2):
        with make_loader(stream(rank, 2, f"{rank}.jsonl"), threads=1) as loader:
            halves.append(list(loader))
    assert interleaved(halves) == after, "and on any rank"


@pytest.mark.parametrize(("harm", "clip", "reasons", "lost"), FAULTS)
def test_unreadable_clips_raise_with_on_error_raise(
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


def test_a_state_resumes_exactly_among_damaged_clips(tmp_path: Path) -> None:
    data = make_dataset(tmp_path)
    remove_shard(data, 24)
    with make_loader(stream_of(data)) as loader:
        whole = seen(loader)
        for cut in range(10):
            loader.set_epoch(0)
            assert seen(islice(loader, cut)) == whole[: cut * 6]
            loader.load_state_dict(loader.state_dict())
            assert seen(loader) == whole[cut * 6 :]


def test_an_error_is_raised_if_nothing_can_be_read(tmp_path: Path) -> None:
    data = make_dataset(tmp_path)
    for path in data.glob("train/*.tar"):
        path.unlink()
    with make_loader(stream_of(data)) as loader, pytest.raises(DatasetError, match="nor can 8 others in its place"):
        next(iter(loader))


def test_a_file_with_the_right_crc_that_is_not_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
