"""Remove clips from shards and plan files, leaving a placeholder for each."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from motionshards.pipeline.planning import plan
from motionshards.pipeline.shards.markers import read_committed
from motionshards.pipeline.shards.rewrite import open_shard, replace_shard, settle
from motionshards.pipeline.shards.tar import ShardReader, ShardWriter
from motionshards.schemas.config import TUBE_RECIPES
from motionshards.schemas.layout import marker_path, planned_key
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.records import ClipSpec, Rejected, ShardUnit, Span
from motionshards.schemas.removal import Removal, matching, nameless_archive, placeholder
from motionshards.schemas.tables import MARKER, PLAN, planned_keys_of, rejected_row, spec_row, table

Rows = list[dict[str, Any]]

_WHO = ["key", "identity", "video"]


def affected_units(out: Path, manifest: Manifest, removals: tuple[Removal, ...]) -> list[ShardUnit]:
    """The units, built or not, with clips that match the removals, or with clips in an archive whose name is removed."""
    masks = {}
    for path in plan.plan_files(out):
        rows = plan.read_plan(path, [*_WHO, "spans"])
        masks[path.name] = matching(rows, removals) | _in_archives(rows, _renamed_archives(rows, manifest))
    # Tubes are not in the plan: a removed tube can only be found in a marker.
    look = manifest.config.recipe in TUBE_RECIPES and any(removal.kind == "key" for removal in removals)
    return [
        unit
        for unit in plan.units(out)
        if masks[unit.plan][unit.start : unit.stop].any() or (look and _matching_rows(_built(out, unit), removals).any())
    ]


def remove_from_shard(out: Path, unit: ShardUnit, manifest: Manifest, removals: tuple[Removal, ...]) -> None:
    """Rewrite a shard without the matching clips, unless it is not built or contains none. Raises DatasetError."""
    path = marker_path(out, unit.split, unit.name)
    if not path.exists():
        return
    settle(out, unit.split, unit.name)
    entry, rows = read_committed(path)
    clips, tubes = _matching_clips(rows, removals), _matching_rows(rows, removals)
    renamed = _renamed_archives(rows, manifest)
    if not tubes.any() and not renamed:
        return
    staying = rows.filter(pa.array(~tubes))
    with open_shard(out, entry, staying) as reader:
        stored = _without_archives(rows.to_pylist(), renamed)
        replace_shard(out, entry, lambda writer: _rows_left(stored, clips, tubes, reader, writer))


def remove_from_plan(out: Path, path: Path, manifest: Manifest, removals: tuple[Removal, ...]) -> None:
    """Replace the matching clips of a plan file by placeholders; row order and units do not change."""
    rows = plan.read_plan(path)
    renamed = _renamed_archives(rows, manifest)
    removed = matching(rows, removals)
    changed = np.flatnonzero(removed | _in_archives(rows, renamed))
    if not len(changed):
        return
    old = _without_archives(rows.take(pa.array(changed)).to_pylist(), renamed)
    new = table(
        (_placeholder_row(row) if is_removed else row for row, is_removed in zip(old, removed[changed], strict=True)), PLAN
    )
    order = np.arange(len(rows))
    order[changed] = len(rows) + np.arange(len(changed))
    plan.write_plan_file(out, path, pa.concat_tables([rows, new]).take(pa.array(order)))


def _placeholder_row(row: dict[str, Any]) -> dict[str, Any]:
    spec = placeholder(row["source"], row["split"], row["key"])
    return {**spec_row(spec), "cost": spec.cost, "unit": row["unit"]}


def _renamed_archives(rows: pa.Table, manifest: Manifest) -> frozenset[str]:
    """The archives of these rows whose names must be removed: dataset.json already has digests in their place."""
    return frozenset(uri for uri in plan.archives_of(rows) if nameless_archive(uri) in manifest.archives)


def _in_archives(rows: pa.Table, archives: frozenset[str]) -> NDArray[np.bool_]:
    """Mask, bool [n], of the rows with a span in one of the archives."""
    if not archives:
        return np.zeros(len(rows), np.bool_)
    named = (any(packed["archive"] in archives for packed in _packed(row)) for row in rows.select(["spans"]).to_pylist())
    return np.fromiter(named, np.bool_, len(rows))


def _without_archives(rows: Rows, archives: frozenset[str]) -> Rows:
    """Replace the names of these archives by digests, in place; returns the rows."""
    for row in rows:
        for packed in _packed(row):
            if packed["archive"] in archives:
                packed["archive"] = nameless_archive(packed["archive"])
    return rows


def _packed(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [span[name] for span in row["spans"] for name in ("packed", "track_packed") if span[name]]


def _built(out: Path, unit: ShardUnit) -> pa.Table:
    path = marker_path(out, unit.split, unit.name)
    return read_committed(path)[1] if path.exists() else MARKER.empty_table()


def _matching_rows(rows: pa.Table, removals: tuple[Removal, ...]) -> NDArray[np.bool_]:
    """Mask, bool [n], of the matching rows of a marker, without placeholders of tubes whose planned clip stays."""
    done: NDArray[np.bool_] = pc.fill_null(pc.equal(rows["reason"], "removed"), False).to_numpy()
    return matching(rows, removals) & ~done | _matching_clips(rows, removals)


def _matching_clips(rows: pa.Table, removals: tuple[Removal, ...]) -> NDArray[np.bool_]:
    """Mask, bool [n], of the rows of a marker whose planned clip matches."""
    return matching(rows.set_column(rows.column_names.index("key"), "key", planned_keys_of(rows["key"])), removals)


def _rows_left(
    rows: Rows, clips: NDArray[np.bool_], tubes: NDArray[np.bool_], reader: ShardReader | None, writer: ShardWriter
) -> Rows:
    """The rows of the new marker: one placeholder for all tubes of a removed clip; a tube removed on its own keeps its key."""
    left: dict[str, dict[str, Any]] = {}
    for row, clip, tube in zip(rows, clips, tubes, strict=True):
        if clip:
            spec = placeholder(row["source"], row["split"], planned_key(row["key"]))
            left[spec.key] = rejected_row(Rejected(spec, "removed"), row["shard"])
        elif tube:
            left[row["key"]] = rejected_row(Rejected(_without_span(row), "removed"), row["shard"])
        elif row["kept"]:
            assert reader is not None, "open_shard opens the tar where a clip stays"
            members = writer.add(row["key"], reader.sample(row["key"], row["members"]))
            left[row["key"]] = {**row, "members": [asdict(member) for member in members]}
        else:
            left[row["key"]] = row
    return list(left.values())


def _without_span(row: dict[str, Any]) -> ClipSpec:
    who = {name: row[name] for name in ("key", "source", "split", "identity", "video")}
    return ClipSpec(spans=(Span(""),), cost=1.0, **who)
