"""Checks the plan, that no clip is lost or duplicated, the counts of dataset.json, and stray files."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from motionshards.dataset.checks.tables import UNREADABLE, cause_of, repeated
from motionshards.schemas.layout import (
    INDEX,
    PEOPLE,
    PLAN_DIR,
    REJECTIONS,
    WORK_DIR,
    is_plain_name,
    marker_path,
    shard_name,
    tar_path,
)
from motionshards.schemas.manifest import Manifest, ShardEntry
from motionshards.schemas.tables import PLAN, completed, open_parquet, planned_keys_of

_OURS = (".tar", ".parquet", ".tmp", ".next")
_PLAN_FILE = re.compile(r"plan-\d{6,}\.parquet")
_COLUMNS = ["key", "source", "split", "unit"]


@dataclass(frozen=True, slots=True)
class Unit:
    """The keys of a shard in order, string [n], and the plan file that contains them."""

    plan: str
    split: str
    keys: pa.Array


@dataclass(slots=True)
class Plan:
    """All planned units by shard name. `readable` is false if a plan file is damaged or missing: units are then incomplete."""

    units: dict[str, Unit] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def readable(self) -> bool:
        """Whether all plan files could be read."""
        return not self.faults

    def superseded(self, listed: set[str]) -> dict[str, pa.Array]:
        """Plan file -> keys that are planned again by a later one, among units of the shards `listed`."""
        files: dict[str, list[pa.Array]] = {}
        for name in self.units:
            if name in listed:
                files.setdefault(self.units[name].plan, []).append(self.units[name].keys)
        if len(files) < 2:
            return {}
        again = repeated(pa.chunked_array([keys for parts in files.values() for keys in parts], pa.string()))
        later, found = pa.array([], pa.string()), {}
        for plan in sorted(files, reverse=True):
            found[plan] = later
            keys = pa.chunked_array(files[plan]).combine_chunks()
            later = pa.concat_arrays([later, keys.filter(pc.is_in(keys, again))])
        return found


def read_plan(out: Path) -> Plan:
    """The plan, with an error for each file that cannot be read."""
    plan = Plan()
    paths = sorted((out / PLAN_DIR).glob("plan-*.parquet"))
    if not paths:
        plan.faults.append(f"{PLAN_DIR}: contains no plan")
    for path in paths:
        try:
            units = _read_units(path)
        except UNREADABLE as error:
            plan.faults.append(f"{PLAN_DIR}/{path.name}: is not a readable plan: {cause_of(error)}")
            continue
        for name, unit in units:
            if name in plan.units:
                plan.faults.append(f"{PLAN_DIR}/{path.name}: plans the shard {name} a second time")
            plan.units[name] = unit
    return plan


def _read_units(path: Path) -> list[tuple[str, Unit]]:
    with open_parquet(path) as file:
        if strange := set(file.schema_arrow.names) - set(PLAN.names):
            raise ValueError(f"it has unknown columns: {', '.join(sorted(strange))}")
        table = completed(file.read(_COLUMNS), pa.schema([PLAN.field(name) for name in _COLUMNS]))
    table.validate(full=True)
    if any(column.null_count for column in table.columns):
        raise ValueError("it contains nulls")
    keys, split = table["key"].combine_chunks(), table["split"].combine_chunks().dictionary_encode()
    number = table["unit"].to_numpy()
    edges = np.flatnonzero((np.diff(number) != 0) | (np.diff(split.indices.to_numpy()) != 0)) + 1
    return [
        _unit(path.name, table, keys, start, stop)
        for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(table)], strict=True)
        if stop > start
    ]


def _unit(plan: str, table: pa.Table, keys: pa.Array, start: int, stop: int) -> tuple[str, Unit]:
    source, split, number = (table[name][start].as_py() for name in ("source", "split", "unit"))
    name = shard_name(source, split, number)
    if not is_plain_name(split) or not is_plain_name(name):
        raise ValueError(f"{split!r} and {name!r} are not valid names of a split and a shard")
    return name, Unit(plan, split, keys.slice(start, stop - start))


def check_built(plan: Plan, shards: dict[str, ShardEntry]) -> Iterator[str]:
    """A line for each plan file with units that dataset.json does not list, and for each shard that is not planned."""
    waiting: dict[str, list[str]] = {}
    for name, unit in plan.units.items():
        if name not in shards:
            waiting.setdefault(unit.plan, []).append(name)
    for file, names in waiting.items():
        clips = sum(len(plan.units[name].keys) for name in names)
        yield (
            f"{PLAN_DIR}/{file}: {clips} planned clips ({len(names)} shards, the first is {names[0]}) are not in dataset.json: "
            "the build is unfinished; run it again to resume"
        )
    if plan.readable:
        for entry in shards.values():
            if entry.name not in plan.units or plan.units[entry.name].split != entry.split:
                yield f"dataset.json: lists the shard {entry.split}/{entry.name}, which is not planned"


def check_conservation(planned: Sequence[Unit], outcomes: pa.Table) -> Iterator[str]:
    """Check that every planned clip is kept or rejected exactly once. `outcomes`: those of the shards of `planned`."""
    for key in repeated(outcomes["key"]).to_pylist():
        rows = outcomes.filter(pc.equal(outcomes["key"], key))
        kept = pc.sum(rows["kept"]).as_py()
        yield f"{key}: is kept {kept} times and rejected {len(rows) - kept} times, must be kept or rejected once"
    for split in sorted({unit.split for unit in planned}):
        keys = pa.chunked_array([unit.keys for unit in planned if unit.split == split], pa.string())
        present = outcomes.filter(pc.equal(outcomes["split"], split))
        number, found = len(keys.unique()), len(planned_keys_of(present["key"]).unique())
        if number != found:
            kept = pc.sum(present["kept"]).as_py() or 0
            yield f"{split}: {number} clips planned, but {found} found: {kept} kept and {len(present) - kept} rejected"


def check_counts(manifest: Manifest, planned: Sequence[Unit], outcomes: pa.Table) -> Iterator[str]:
    """A line for each count of dataset.json that differs from what was found."""
    for name, found in _counts(manifest, planned, outcomes).items():
        recorded = manifest.counts.get(name) if isinstance(manifest.counts, dict) else None
        if name.endswith("_hours") and isinstance(recorded, float | int) and abs(recorded - found) < 2e-3:
            continue  # a sum of floats depends on their order
        if recorded != found:
            yield f"dataset.json: counts.{name} is {recorded!r}, found {found!r}"


def _counts(manifest: Manifest, planned: Sequence[Unit], outcomes: pa.Table) -> dict[str, Any]:
    kept = outcomes.filter(outcomes["kept"])
    lost = outcomes.filter(pc.invert(outcomes["kept"]))
    sounding = kept.filter(kept["has_audio"])
    sound_s = pc.sum(pc.divide(sounding["video_frames"], sounding["fps"])).as_py() or 0.0
    moving = {"video_frames": pc.sum(kept["video_frames"]).as_py() or 0, "sound_hours": round(sound_s / 3600, 6)}
    return {
        "planned": len(pa.chunked_array([unit.keys for unit in planned], pa.string()).unique()),
        "kept": len(kept),
        "rejected": _by(lost["reason"]),
        "kept_by_split": _by(kept["split"]),
        "identities": len(kept["identity"].unique()),
        "frames": pc.sum(kept["n_frames"]).as_py() or 0,
        **(moving if manifest.config.stores_video else {}),
        "source_hours": round((pc.sum(kept["duration_s"]).as_py() or 0.0) / 3600, 3),
        "bytes": sum(entry.bytes for entry in manifest.shards),
    }


def _by(values: pa.ChunkedArray) -> dict[str, int]:
    return {count["values"]: count["counts"] for count in pc.value_counts(values).to_pylist()}


def stray_files(out: Path, shards: dict[str, ShardEntry], plan: Plan) -> Iterator[str]:
    """A line for each unaccounted file of a type that builds write, and for the leftovers of a killed build."""
    known = {out / INDEX, out / REJECTIONS, out / PEOPLE}
    known |= {place(out, entry.split, entry.name) for entry in shards.values() for place in (tar_path, marker_path)}
    known |= {place(out, unit.split, name) for name, unit in plan.units.items() for place in (tar_path, marker_path)}
    if (out / WORK_DIR).exists():
        yield f"{WORK_DIR}: belongs to a build that is running or was killed; run the build again to clean up"
    refused: list[OSError] = []
    for directory, below, names in os.walk(out, onerror=refused.append):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            path = Path(directory, name)
            planned = path.parent == out / PLAN_DIR and _PLAN_FILE.fullmatch(name)
            if path.suffix in _OURS and path not in known and not planned:
                yield f"{path.relative_to(out)}: is a stray file that dataset.json does not list"
    yield from (f"{Path(error.filename).relative_to(out)}: cannot be listed: {cause_of(error)}" for error in refused)
