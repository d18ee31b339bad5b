"""Write index, ledger, manifest and data card from the markers, once every planned unit is committed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from motionshards.pipeline.card.card import data_card
from motionshards.pipeline.card.croissant import croissant
from motionshards.pipeline.planning.hygiene import with_past_the_end
from motionshards.pipeline.planning.plan import digests, plan_files, planned_keys, read_plan, units
from motionshards.pipeline.shards.markers import read_committed
from motionshards.schemas.atomic import replacing, sha256_of, sync, write_whole
from motionshards.schemas.errors import BuildFailed, DatasetError
from motionshards.schemas.layout import CARD, CROISSANT, INDEX, REJECTIONS, marker_path
from motionshards.schemas.manifest import Manifest, ShardEntry
from motionshards.schemas.records import ShardUnit
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA
from motionshards.schemas.tables import planned_keys_of

_ROWS_PER_GROUP = 16_384


@dataclass(slots=True)
class _Totals:
    planned: int = 0
    kept: int = 0
    frames: int = 0
    duration_s: float = 0.0
    video_frames: int = 0
    sound_s: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)
    kept_by_split: Counter[str] = field(default_factory=Counter)
    identities: set[str] = field(default_factory=set)
    past_end: list[str] = field(default_factory=list)


def finalize(out: Path, manifest: Manifest) -> Manifest:
    """Write index.parquet, rejections.parquet, README.md, croissant.json and, last, the complete dataset.json.

    Raises:
        BuildFailed: a unit is not committed, or planned clips are missing
    """
    plans = digests(out)
    if damaged := [name for name, digest in plans.items() if manifest.files.get(name, digest) != digest]:
        raise BuildFailed(f"{out / damaged[0]} is damaged: restore it from a copy")
    totals, shards = _Totals(), []
    superseded = _planned_again(out)
    with (
        replacing(out, out / INDEX) as index_path,
        replacing(out, out / REJECTIONS) as rejections_path,
        _Rows(index_path, INDEX_SCHEMA) as index,
        _Rows(rejections_path, REJECTIONS_SCHEMA) as rejections,
    ):
        for unit, entry, rows in _markers(out, manifest):
            shards.append(entry)
            kept, rejected = rows.filter(rows["kept"]), rows.filter(pc.invert(rows["kept"]))
            planned = planned_keys_of(rejected["key"]).to_pylist()
            current = [superseded.get(key, unit.plan) == unit.plan for key in planned]
            rejected = rejected.filter(pa.array(current, pa.bool_()))
            index.add(kept)
            rejections.add(rejected)
            _count(totals, kept, rejected)
            totals.past_end += kept.filter(pc.greater(kept["past_end_s"], 0))["key"].to_pylist()
            totals.past_end += rejected.filter(pc.equal(rejected["reason"], "past_the_end"))["key"].to_pylist()
        counts = _counts(out, manifest, totals, shards)  # inside the block, so that an error keeps the old index
    for split in {entry.split for entry in shards}:
        sync(out / split)  # a worker may have been killed between its last rename and its sync
    report = with_past_the_end(manifest.hygiene, totals.past_end)
    files = {**plans, **{name: sha256_of(out / name) for name in (INDEX, REJECTIONS)}}
    finished = replace(manifest, complete=True, counts=counts, shards=tuple(shards), hygiene=report, files=files)
    written = {CARD: data_card(finished, out).encode(), CROISSANT: croissant(finished, out).encode()}
    for name, content in written.items():
        write_whole(out, out / name, content)
    finished = replace(finished, files={**files, **{name: sha256(content).hexdigest() for name, content in written.items()}})
    finished.write(out)
    return finished


def _markers(out: Path, manifest: Manifest) -> Iterator[tuple[ShardUnit, ShardEntry, pa.Table]]:
    for unit in units(out):
        path = marker_path(out, unit.split, unit.name)
        if not path.exists():
            raise BuildFailed(f"unit {unit.name} is planned but not committed")
        try:
            entry, rows = read_committed(path)
        except DatasetError as error:
            raise BuildFailed(str(error)) from error
        if entry.marker_sha256 is None:
            raise BuildFailed(f"{path} has no digest; delete it and its tar, and run the build command again")
        if entry.made_by not in (None, manifest.made_by):
            raise BuildFailed(f"{path} was built with another config or provenance than dataset.json records")
        if (held := len(planned_keys_of(rows["key"]).unique())) != len(unit):
            raise BuildFailed(f"{path} holds {held} of {len(unit)} planned clips")
        yield unit, entry, rows


def _planned_again(out: Path) -> dict[str, str]:
    """Clips that were planned more than once -> the plan file whose outcome counts, which is the last one."""
    again: dict[str, str] = {}
    earlier = pa.chunked_array([], pa.string())
    for path in plan_files(out):
        keys = read_plan(path, ["key"])["key"]
        twice = keys.filter(pc.is_in(keys, earlier.combine_chunks()))
        again |= dict.fromkeys(twice.to_pylist(), path.name)
        earlier = pa.chunked_array([*earlier.chunks, *keys.chunks], pa.string())
    return again


def _count(totals: _Totals, kept: pa.Table, rejected: pa.Table) -> None:
    totals.planned += len(planned_keys_of(pa.chunked_array([*kept["key"].chunks, *rejected["key"].chunks], pa.string())).unique())
    totals.kept += len(kept)
    totals.frames += pc.sum(kept["n_frames"]).as_py() or 0
    totals.duration_s += pc.sum(kept["duration_s"]).as_py() or 0.0
    totals.video_frames += pc.sum(kept["video_frames"]).as_py() or 0
    sounding = kept.filter(kept["has_audio"])  # without clips that have neither video nor audio
    totals.sound_s += pc.sum(pc.divide(sounding["video_frames"], sounding["fps"])).as_py() or 0.0
    totals.identities |= set(pc.unique(kept["identity"]).to_pylist())
    totals.kept_by_split.update(kept["split"].to_pylist())
    totals.rejected.update(rejected["reason"].to_pylist())


def _counts(out: Path, manifest: Manifest, totals: _Totals, shards: list[ShardEntry]) -> dict[str, Any]:
    """The ledger, after checking that every planned clip, or each of its tubes, is kept or rejected."""
    planned = len(planned_keys(out).unique())
    if planned != totals.planned:
        raise BuildFailed(f"{planned} clips planned, but {totals.planned} kept or rejected")
    video = {"video_frames": totals.video_frames, "sound_hours": round(totals.sound_s / 3600, 6)}
    return {
        "planned": planned,
        "kept": totals.kept,
        "rejected": dict(sorted(totals.rejected.items())),
        "kept_by_split": dict(sorted(totals.kept_by_split.items())),
        "identities": len(totals.identities),
        "frames": totals.frames,
        **(video if manifest.config.stores_video else {}),
        "source_hours": round(totals.duration_s / 3600, 3),
        "bytes": sum(entry.bytes for entry in shards),
    }


class _Rows:
    """Write a parquet file in row groups of reasonable size from many small tables, in bounded memory."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._schema = schema
        self._waiting: list[pa.Table] = []

    def __enter__(self) -> "_Rows":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, rows: pa.Table) -> None:
        self._waiting.append(rows.select(self._schema.names))
        if sum(map(len, self._waiting)) >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting = []
