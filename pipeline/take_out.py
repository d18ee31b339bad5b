"""Removed clips, taken out of shards and plan files: a placeholder stands where each of them was."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline import plan
from pipeline.rewrite import open_shard, replace_shard, settle
from pipeline.tar import ShardReader, ShardWriter
from schemas.config import TUBE_RECIPES, BuildConfig
from schemas.layout import marker_path, planned_key
from schemas.marker import read_marker
from schemas.records import ClipSpec, Rejected, ShardUnit, Span
from schemas.removal import Removal, matching, placeholder
from schemas.tables import MARKER, PLAN, planned_keys_of, rejected_row, spec_row, table

Rows = list[dict[str, Any]]


def concerned_units(out: Path, config: BuildConfig, removals: tuple[Removal, ...]) -> list[ShardUnit]:
    """The units that hold clips which the removals match, built or not."""
    masks = {
        path.name: matching(pq.read_table(path, columns=["key", "identity", "video"]), removals) for path in plan.plan_files(out)
    }
    # A tube alone does not stand in the plan.
    look = config.recipe in TUBE_RECIPES and any(removal.kind == "key" for removal in removals)
    return [
        unit
        for unit in plan.units(out)
        if masks[unit.plan][unit.start : unit.stop].any() or (look and _to_go(_built(out, unit), removals).any())
    ]


def take_out_of_shard(out: Path, unit: ShardUnit, removals: tuple[Removal, ...]) -> None:
    """Rewrite a shard without the clips that match; nothing where it is not built, or done already. Raises DatasetError."""
    path = marker_path(out, unit.split, unit.name)
    if not path.exists():
        return
    settle(out, unit.split, unit.name)
    entry, rows = read_marker(path)
    clips, tubes = _whole(rows, removals), _to_go(rows, removals)
    if not tubes.any():
        return
    staying = rows.filter(pa.array(~tubes))
    with open_shard(out, entry, staying) as reader:
        replace_shard(out, entry, lambda writer: _rows_left(rows.to_pylist(), clips, tubes, reader, writer))


def take_out_of_plan(out: Path, path: Path, removals: tuple[Removal, ...]) -> None:
    """Put placeholders for the clips of a plan file that match; rows and units stay where they are."""
    rows = pq.read_table(path)
    gone = np.flatnonzero(matching(rows, removals))
    if not len(gone):
        return
    old = rows.take(pa.array(gone)).select(["source", "split", "key", "unit"]).to_pylist()
    specs = [(placeholder(row["source"], row["split"], row["key"]), row["unit"]) for row in old]
    new = table(({**spec_row(spec), "cost": spec.cost, "unit": unit} for spec, unit in specs), PLAN)
    order = np.arange(len(rows))
    order[gone] = len(rows) + np.arange(len(gone))
    plan.store(out, path, pa.concat_tables([rows.cast(PLAN), new]).take(pa.array(order)))


def _built(out: Path, unit: ShardUnit) -> pa.Table:
    path = marker_path(out, unit.split, unit.name)
    return read_marker(path)[1] if path.exists() else MARKER.empty_table()


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
