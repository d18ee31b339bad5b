"""Damaged and edited datasets: `verify` reports them, builds refuse them, and users can clear every obstacle to a removal."""

import dataclasses
import json
import os
import shutil
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contents import tree
from removals import build_args, words

from motionshards.dataset import build, preview, remove, verify
from motionshards.dataset.index import Dataset
from motionshards.dataset.stream import ClipStream
from motionshards.dataset.views import Pairs
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import CARD, CROISSANT, DATASET_JSON, INDEX, REJECTIONS, marker_path, plan_path, tar_path
from motionshards.schemas.manifest import Manifest, ShardEntry, digest_of
from motionshards.schemas.marker import read_marker, write_marker
from motionshards.schemas.tables import PLAN

pytestmark = pytest.mark.usefixtures("quick")

PERSON = "id90000"


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    """A dataset of eight clips and two rejected ones, which the test may change."""
    return Path(shutil.copytree(original, tmp_path / "data"))


def flip(path: Path, at: float = 0.5) -> None:
    """Flip a bit, by default in the middle of the file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 4
    path.write_bytes(content)


def edit(data: Path, change: Callable[[dict[str, Any]], object], *, sign: bool) -> None:
    """Change dataset.json; `sign` also updates its digest, as an attacker would."""
    stored = json.loads((data / DATASET_JSON).read_text())
    change(stored)
    if sign:
        stored["sha256"] = digest_of({name: value for name, value in stored.items() if name != "sha256"})
    (data / DATASET_JSON).write_text(json.dumps(stored))


def shard_of(data: Path, person: str) -> ShardEntry:
    """A shard with clips of this person, or without any."""
    rows = Dataset.open(data).index(["identity", "shard"]).to_pylist()
    mine = {row["shard"] for row in rows if row["identity"] == PERSON}
    return next(entry for entry in Manifest.read(data).shards if entry.clips and (entry.name in mine) == (person == PERSON))


SETTINGS = [
    lambda stored: stored["config"].update(seed=1),
    lambda stored: stored["config"].update(recipe="bbox"),
    lambda stored: stored["config"].pop("frames"),
    lambda stored: stored["provenance"].update(ffmpeg="8.0"),
]


@pytest.mark.parametrize("change", SETTINGS)
@pytest.mark.parametrize("sign", [False, True], ids=["", "signed"])
def test_edited_settings_are_reported_and_builds_refused(
    data: Path,
    videos: Path,
    change: Callable[[dict[str, Any]], object],
    sign: bool,
    capsys: Any,
) -> None:
    edit(data, change, sign=sign)
    faults = verify.verify(data, fast=True).faults
    count = len(Manifest.read(data).shards)
    assert any(f"{count} shards were built with a different config or provenance" in fault for fault in faults)
    assert any("is damaged or was edited" in fault for fault in faults) != sign
    seed = ["--seed", "1"] if Manifest.read(data).config.seed else []
    assert build.main(build_args(videos, data, *seed)) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    if seed:
        assert ("config or provenance differ" in output) if sign else ("is damaged or was edited" in output)


def test_other_edits_are_reported_and_builds_refused(data: Path, videos: Path, capsys: Any) -> None:
    edit(data, lambda stored: stored.update(input="/elsewhere"), sign=False)
    assert verify.verify(data, fast=True).faults == (
        f"{DATASET_JSON}: is damaged or was edited: its sha256 does not match its content",
    )
    for command in (build_args(videos, data), ["--output", str(data), "--add", "quality", "--quiet"]):
        assert build.main(command) == 2
        assert "is damaged or was edited" in capsys.readouterr().err


def test_the_data_card_may_be_edited(data: Path, capsys: Any) -> None:
    (data / CARD).write_text((data / CARD).read_text() + "\nOurs.\n")
    assert verify.main([str(data), "--quiet", "--fast"]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith(f"warning: {CARD}: sha256 is") and output[1].endswith(": ok, 1 warning")
    (data / CARD).unlink()
    assert verify.verify(data, fast=True).faults == () and "missing" in verify.verify(data, fast=True).warnings[0]


def test_a_removal_succeeds_despite_an_edit_and_reports_it(data: Path, capsys: Any) -> None:
    edit(data, lambda stored: stored["counts"].update(kept=7), sign=False)
    assert remove.main([str(data), "--identity", PERSON]) == 0
    assert "is damaged or was edited" in capsys.readouterr().err
    assert verify.verify(data).faults == ()


@pytest.mark.parametrize("whose", [PERSON, "others"])
def test_a_removal_succeeds_once_a_damaged_marker_is_deleted(
    data: Path, videos: Path, original: Path, whose: str, capsys: Any
) -> None:
    entry = shard_of(data, whose)
    marker, tar = (place(data, entry.split, entry.name) for place in (marker_path, tar_path))
    flip(marker)
    command = [str(data), "--identity", PERSON]
    assert remove.main(command) == 1
    output = capsys.readouterr().err
    assert f"{marker} is not a readable marker: it is damaged" in output and "delete it and its tar" in output
    assert output.count("\n") == 1 and (PERSON.encode() in words(data)) == (whose == PERSON)
    marker.unlink()
    tar.unlink()
    assert remove.main(command) == 0
    assert PERSON.encode() not in words(data)
    assert build.main(build_args(videos, data)) == 0
    beside = Path(shutil.copytree(original, data.parent / "beside"))
    assert remove.main([str(beside), "--identity", PERSON]) == 0
    assert tree(data) == tree(beside) and verify.verify(data).faults == ()


def test_a_damaged_plan_is_regenerated_once_deleted(data: Path, videos: Path, capsys: Any) -> None:
    before, add_quality = tree(data), ["--output", str(data), "--add", "quality", "--quiet"]
    flip(plan_path(data, 0))
    for command in (lambda: remove.main([str(data), "--identity", PERSON]), lambda: build.main(build_args(videos, data))):
        assert command() in (1, 2)
        output = capsys.readouterr().err
        assert "plan/plan-000000.parquet is damaged: restore it from a copy, or delete it" in output and output.count("\n") == 1
    plan_path(data, 0).unlink()
    for command in (lambda: remove.main([str(data), "--identity", PERSON]), lambda: build.main(add_quality)):
        assert command() in (1, 2)
        assert "plan/plan-000000.parquet is missing: restore it from a copy, or run the same build" in capsys.readouterr().err
    assert build.main(build_args(videos, data)) == 0 and tree(data) == before
    assert remove.main([str(data), "--identity", PERSON]) == 0 and verify.verify(data).faults == ()


@pytest.mark.parametrize("name", [INDEX, REJECTIONS, CROISSANT, CARD])
def test_missing_files_derived_from_markers_are_regenerated(data: Path, videos: Path, name: str) -> None:
    before = tree(data)
    (data / name).unlink()
    assert build.main(build_args(videos, data)) == 0 and tree(data) == before and verify.verify(data).faults == ()


def test_a_plan_other_than_the_missing_one_is_refused(data: Path, videos: Path, capsys: Any) -> None:
    plan_path(data, 0).unlink()
    assert build.main(build_args(videos, data, "--limit", "3")) == 2
    assert "planning again gives a different result" in capsys.readouterr().err and not plan_path(data, 0).exists()


def hostile_index(data: Path) -> None:
    rows = pq.read_table(data / INDEX)
    name = pa.array(["../../outside"] * len(rows))
    pq.write_table(rows.set_column(rows.column_names.index("shard"), "shard", name), data / INDEX)


def hostile_plan(data: Path) -> None:
    rows = pq.ParquetFile(plan_path(data, 0)).read().cast(PLAN)
    pq.write_table(
        rows.set_column(rows.column_names.index("split"), "split", pa.array(["../.."] * len(rows))), plan_path(data, 0)
    )


def hostile_marker(data: Path) -> None:
    entry = shard_of(data, PERSON)
    path = marker_path(data, entry.split, entry.name)
    rows = read_marker(path)[1].to_pylist()
    for row in rows:
        row["members"] = [None]
    write_marker(path, entry, pa.Table.from_pylist(rows, read_marker(path)[1].schema))


def fifo_for(name: Callable[[Path], Path]) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        path = name(data)
        path.unlink()
        os.mkfifo(path)

    return change


def person_tar(data: Path) -> Path:
    entry = shard_of(data, PERSON)
    return tar_path(data, entry.split, entry.name)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "index": hostile_index,
    "plan": hostile_plan,
    "marker": hostile_marker,
    "tar is a fifo": fifo_for(person_tar),
    "marker is a fifo": fifo_for(lambda data: person_tar(data).with_suffix(".parquet")),
    "index is a fifo": fifo_for(lambda data: data / INDEX),
    "rejections is a fifo": fifo_for(lambda data: data / REJECTIONS),
    "plan is a fifo": fifo_for(lambda data: plan_path(data, 0)),
    "dataset.json is a fifo": fifo_for(lambda data: data / DATASET_JSON),
    "nested": lambda data: (data / DATASET_JSON).write_text('{"format":' * 100_000),
    "croissant": lambda data: (data / "croissant.json").write_text("[" * 100_000),
    "names": lambda data: edit(data, lambda stored: stored["files"].update({"../../etc/passwd": "0" * 64}), sign=True),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", HOSTILE)
def test_verify_reports_hostile_files_and_reads_no_others(data: Path, what: str, capsys: Any) -> None:
    HOSTILE[what](data)
    assert verify.main([str(data), "--quiet"]) == 1
    assert not [line for line in capsys.readouterr().out.splitlines() if "Traceback" in line]


def test_a_tar_extension_header_is_not_read_into_memory(data: Path) -> None:
    tar = person_tar(data)
    extension = tarfile.TarInfo("pax")
    extension.type, extension.size = tarfile.XHDTYPE, 8 << 30
    tar.write_bytes(extension.tobuf(tarfile.GNU_FORMAT))
    with tar.open("r+b") as stream:
        stream.truncate(extension.size)  # sparse
    tracemalloc.start()
    try:
        report = verify.verify(data, workers=1)
        assert report.faults and tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_no_reader_opens_a_shard_outside_the_dataset(data: Path) -> None:
    row = Dataset.open(data).index().to_pylist()[0]
    shutil.copy(tar_path(data, row["split"], row["shard"]), data.parent / "outside.tar")
    opened = Dataset.open(data)
    for change in (
        {"shard": "../../outside"},
        {"split": "../..", "shard": "outside"},
        {"split": "..", "shard": f"../{data.name}/x"},
    ):
        with pytest.raises(DatasetError, match="is not a valid name of a split or shard"):
            opened.read({**row, **change})
    with pytest.raises(ValueError, match="is not a valid name"):
        dataclasses.replace(opened.manifest.shards[0], name="../../outside")
    hostile_plan(data)
    with pytest.raises(DatasetError):
        remove.remove(data, [remove.RemovalRequest("identity", PERSON)], "now")


INDEXES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "text": lambda rows: with_column(rows, "n_frames", ["x"] * len(rows)),
    "huge": lambda rows: with_column(rows, "n_frames", [2**40] * len(rows)),
    "negative": lambda rows: with_column(rows, "n_frames", [-1] * len(rows)),
    "null": lambda rows: with_column(rows, "shard", pa.nulls(len(rows), pa.string())),
    "path": lambda rows: with_column(rows, "split", ["../../../etc"] * len(rows)),
    "absent": lambda rows: rows.drop_columns(["members"]),
}


def with_column(rows: pa.Table, name: str, values: Any) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, pa.array(values))


@pytest.mark.parametrize("what", INDEXES)
def test_readers_refuse_an_index_that_no_build_writes_in_one_line(data: Path, what: str, capsys: Any) -> None:
    pq.write_table(INDEXES[what](pq.read_table(data / INDEX)), data / INDEX)
    opened = Dataset.open(data)
    readers = (
        lambda: [opened.read(row) for row in opened.index().to_pylist()],
        lambda: ClipStream(data, Pairs(), global_batch_size=1, split=None),
    )
    for read in readers:
        with pytest.raises(DatasetError) as output:
            read()
        assert "\n" not in str(output.value)
    assert preview.main([str(data), "--output", str(data.parent / "sheet.png")]) != 0
    assert capsys.readouterr().err.count("\n") == 1
    assert verify.verify(data, fast=True).faults
