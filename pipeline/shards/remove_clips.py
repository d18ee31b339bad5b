"""Removed clips, taken out of shards and plan files: a placeholder stands where each of them was."""

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


def concerned_units(out: Path, manifest: Manifest, removals: tuple[Removal, ...]) -> list[ShardUnit]:
    """The units that hold clips which the removals match, built or not, or clips in an archive whose name goes."""
    masks = {}
    for path in plan.plan_files(out):
        rows = plan.read_plan(path, [*_WHO, "spans"])
        masks[path.name] = matching(rows, removals) | _in_archives(rows, _telling(rows, manifest))
    # A tube alone does not stand in the plan.
    look = manifest.config.recipe in TUBE_RECIPES and any(removal.kind == "key" for removal in removals)
    return [
        unit
        for unit in plan.units(out)
        if masks[unit.plan][unit.start : unit.stop].any() or (look and _to_go(_built(out, unit), removals).any())
    ]


def take_out_of_shard(out: Path, unit: ShardUnit, manifest: Manifest, removals: tuple[Removal, ...]) -> None:
    """Rewrite a shard without the clips that match; nothing where it is not built, or done already. Raises DatasetError."""
    path = marker_path(out, unit.split, unit.name)
    if not path.exists():
        return
    settle(out, unit.split, unit.name)
    entry, rows = read_committed(path)
    clips, tubes = _whole(rows, removals), _to_go(rows, removals)
    telling = _telling(rows, manifest)
    if not tubes.any() and not telling:
        return
    staying = rows.filter(pa.array(~tubes))
    with open_shard(out, entry, staying) as reader:
        stored = _without_archives(rows.to_pylist(), telling)
        replace_shard(out, entry, lambda writer: _rows_left(stored, clips, tubes, reader, writer))


def take_out_of_plan(out: Path, path: Path, manifest: Manifest, removals: tuple[Removal, ...]) -> None:
    """Put placeholders for the clips of a plan file that match; rows and units stay where they are."""
    rows = plan.read_plan(path)
    telling = _telling(rows, manifest)
    removed = matching(rows, removals)
    changed = np.flatnonzero(removed | _in_archives(rows, telling))
    if not len(changed):
        return
    old = _without_archives(rows.take(pa.array(changed)).to_pylist(), telling)
    new = table((_placeholder_row(row) if gone else row for row, gone in zip(old, removed[changed], strict=True)), PLAN)
    order = np.arange(len(rows))
    order[changed] = len(rows) + np.arange(len(changed))
    plan.store(out, path, pa.concat_tables([rows, new]).take(pa.array(order)))


def _placeholder_row(row: dict[str, Any]) -> dict[str, Any]:
    spec = placeholder(row["source"], row["split"], row["key"])
    return {**spec_row(spec), "cost": spec.cost, "unit": row["unit"]}


def _telling(rows: pa.Table, manifest: Manifest) -> frozenset[str]:
    """The archives of these rows whose names are to go: dataset.json has digests in place of them."""
    return frozenset(uri for uri in plan.archives_of(rows) if nameless_archive(uri) in manifest.archives)


def _in_archives(rows: pa.Table, archives: frozenset[str]) -> NDArray[np.bool_]:
    """bool [n]: the rows with a span in one of the archives."""
    if not archives:
        return np.zeros(len(rows), np.bool_)
    named = (any(packed["archive"] in archives for packed in _packed(row)) for row in rows.select(["spans"]).to_pylist())
    return np.fromiter(named, np.bool_, len(rows))


def _without_archives(rows: Rows, archives: frozenset[str]) -> Rows:
    """The rows, changed in place, with digests for the names of these archives."""
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


def _to_go(rows: pa.Table, removals: tuple[Removal, ...]) -> NDArray[np.bool_]:
    """bool [n]: the rows of a marker that match; not what is left of a tube that was removed alone, while its clip stays."""
    done: NDArray[np.bool_] = pc.fill_null(pc.equal(rows["reason"], "removed"), False).to_numpy()
    return matching(rows, removals) & ~done | _whole(rows, removals)


def _whole(rows: pa.Table, removals: tuple[Removal, ...]) -> NDArray[np.bool_]:
    """bool [n]: the rows of a marker whose planned clip matches."""
    return matching(rows.set_column(rows.column_names.index("key"), "key", planned_keys_of(rows["key"])), removals)


def _rows_left(
    rows: Rows, clips: NDArray[np.bool_], tubes: NDArray[np.bool_], reader: ShardReader | None, writer: ShardWriter
) -> Rows:
    """The rows of the new marker: one placeholder for all tubes of a clip that goes, a tube that goes alone keeps its key."""
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
