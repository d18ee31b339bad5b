"""A finished dataset with one part changed, and what `verify` reports."""

import dataclasses
import io
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motionshards.dataset import verify
from motionshards.dataset.index import read_members
from motionshards.pipeline.card.croissant import croissant
from motionshards.pipeline.shards.tar import ShardWriter
from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import CROISSANT, DATASET_JSON, INDEX, META, marker_path, tar_path
from motionshards.schemas.manifest import Manifest, ShardEntry
from motionshards.schemas.marker import read_entry, read_marker, write_marker
from motionshards.schemas.samples.encode import npy_bytes
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import MARKER, table

Files = dict[str, bytes]
Sample = tuple[Files, dict[str, Any], BuildConfig]
"""Members, row and config."""


def run(out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str]]:
    """Exit status and printed lines of the command."""
    status = verify.main([str(out), "--quiet", *options])
    return status, capsys.readouterr().out.splitlines()


def entry_of(out: Path) -> ShardEntry:
    """The last shard that has a tar."""
    return next(entry for entry in reversed(Manifest.read(out).shards) if entry.sha256)


def tar_of(out: Path) -> Path:
    entry = entry_of(out)
    return tar_path(out, entry.split, entry.name)


def marker_of(out: Path) -> Path:
    return tar_of(out).with_suffix(".parquet")


def first_row(out: Path) -> dict[str, Any]:
    """The index row of the first clip of that shard."""
    rows: list[dict[str, Any]] = pq.read_table(out / INDEX, filters=[("shard", "=", entry_of(out).name)]).to_pylist()
    return rows[0]


def first_sample(out: Path) -> Sample:
    """The first clip of that shard."""
    row = first_row(out)
    with tar_of(out).open("rb") as stream:
        return read_members(stream, row["members"]), row, Manifest.read(out).config


def rewrite(
    out: Path, change: Callable[[Files], None] = lambda files: None, columns: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Change members or columns of one clip with consistent hashes, marker, index and dataset.json: only the content is wrong."""
    manifest, old = Manifest.read(out), entry_of(out)
    rows = read_marker(marker_of(out))[1].to_pylist()
    with tar_of(out).open("rb") as stream:
        contents = {row["key"]: read_members(stream, row["members"]) for row in rows if row["kept"]}
    key = first_row(out)["key"]
    change(contents[key])
    next(row for row in rows if row["key"] == key).update(columns)
    tar_of(out).unlink()
    with ShardWriter(tar_of(out)) as writer:
        for row in rows:
            if row["kept"]:
                row["members"] = [dataclasses.asdict(member) for member in writer.add(row["key"], contents[row["key"]])]
    sha = subprocess.run(["sha256sum", tar_of(out)], capture_output=True, text=True, check=True).stdout.split()[0]
    new = dataclasses.replace(old, bytes=tar_of(out).stat().st_size, sha256=sha)
    write_marker(marker_of(out), new, table(rows, MARKER))
    new = read_entry(marker_of(out))
    shards = tuple(new if entry == old else entry for entry in manifest.shards)
    counts = {**manifest.counts, "bytes": sum(entry.bytes for entry in shards)}
    kept = [read_marker(marker_path(out, entry.split, entry.name))[1] for entry in shards]
    index = pa.concat_tables([rows.filter(rows["kept"]).select(INDEX_SCHEMA.names) for rows in kept])
    pq.write_table(index, out / INDEX)
    changed = dataclasses.replace(manifest, shards=shards, counts=counts, files=manifest.files | {INDEX: sha256_of(out / INDEX)})
    (out / CROISSANT).write_text(croissant(changed, out))
    dataclasses.replace(changed, files=changed.files | {CROISSANT: sha256_of(out / CROISSANT)}).write(out)
    shutil.rmtree(out / ".work")


def edit_array(suffix: str, change: Callable[[Any], Any]) -> Callable[[Files], None]:
    """A change of one array of a sample."""

    def edit(files: Files) -> None:
        files[suffix] = npy_bytes(change(np.load(io.BytesIO(files[suffix]))))

    return edit


def edit_meta(change: Callable[[dict[str, Any]], None]) -> Callable[[Files], None]:
    """A change of meta.json of a sample."""

    def edit(files: Files) -> None:
        meta = json.loads(files[META])
        change(meta)
        files[META] = json.dumps(meta).encode()

    return edit


def edit_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.ParquetFile(path).read()), path)


def edit_json(out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((out / DATASET_JSON).read_text())
    change(content)
    (out / DATASET_JSON).write_text(json.dumps(content))


def shard_names(out: Path) -> set[str]:
    return {entry.name for entry in Manifest.read(out).shards}
