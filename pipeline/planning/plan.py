"""Divide clips into shard units of equal cost. The assignment is decided once and stored.

Each planning run writes one file, OUT/plan/plan-NNNNNN.parquet. Its rows are ordered by a seeded hash, which spreads the clips
of an identity over the shards; a unit is a range of rows. Later runs plan only clips that no earlier file contains, so
committed shards never change.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from motionshards.schemas.atomic import replacing, sha256_of
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import PLAN_DIR, plan_path, planned_key, shard_name, text_of
from motionshards.schemas.records import ClipSpec, ShardUnit, Span
from motionshards.schemas.removal import Removal, matching
from motionshards.schemas.tables import PLAN, SPAN, completed, open_parquet, spec_from_row
from motionshards.transforms.extract.sample import stable_hash

# Small datasets are divided into several shards too, so that a second worker or reader has work.
_MIN_SHARDS = 8
_SMALLEST_SHARD = 4
_CHUNK = 65_536
_OFTEN_NULL = ("box", "reference_px", "track_uri", "packed", "track_packed", "frames", "shown_times")
_ROW_GROUP = 4_096


@dataclass(frozen=True, slots=True)
class Subset:
    """The part of the listing to plan: clips of these splits (None: all), at most `limit` of them in hash order."""

    splits: frozenset[str] | None = None
    limit: int | None = None


def listing_table(clips: Iterator[ClipSpec], config: BuildConfig) -> pa.Table:
    """A listing as a table: the columns of the plan without `unit`, and the hash that orders the rows."""
    return _columns(clips, config.seed)


def plan_new(out: Path, listed: pa.Table, config: BuildConfig, subset: Subset, removals: Iterable[Removal] = ()) -> int:
    """Plan the clips of a `listing_table` that are in no plan file of `out` and match no removal; returns their number.

    Removed clips count towards the limit; otherwise planning again with the same limit would replace them by other clips.
    """
    if subset.splits is not None:
        listed = filter_rows(listed, pc.is_in(listed["split"], pa.array(sorted(subset.splits), pa.string())).to_numpy())
    chosen = np.zeros(len(listed), np.bool_)
    chosen[np.argsort(listed["hash"].to_numpy(), kind="stable")[: subset.limit]] = True
    listed = filter_rows(listed, chosen)
    listed = filter_rows(listed, ~matching(listed, removals))
    known = pc.is_in(listed["key"], planned_keys(out).combine_chunks())
    return _write(out, filter_rows(listed, ~known.to_numpy()), config)


def filter_rows(rows: pa.Table, kept: NDArray[np.bool_]) -> pa.Table:
    """Filter rows; returns the table itself if all are kept, since a copy of a million rows takes half a gigabyte."""
    return rows if kept.all() else rows.filter(pa.array(kept))


def plan_again(out: Path, rejections: pa.Table, config: BuildConfig, built: Set[str]) -> int:
    """Plan rejected clips again, in new shards; the later outcome counts. Returns their number.

    Skips clips that an earlier run has planned again but not built yet, since they will be built anyway.
    """
    waiting = {clip.key for unit in units(out) if unit.name not in built for clip in read_unit(out, unit)}
    # Tubes are not retried individually, but with the clip they come from.
    rows = [row for row in rejections.to_pylist() if row["key"] not in waiting and row["key"] == planned_key(row["key"])]
    clips = [spec_from_row({**row, "cost": 1.0}) for row in rows]
    return _write(out, _columns(iter(clips), config.seed), config)


def plan_files(out: Path) -> list[Path]:
    """The plan files, in the order in which they were written."""
    return sorted((out / PLAN_DIR).glob("plan-*.parquet"))


def read_plan(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a plan file, or some of its columns; columns unknown to its version are null. Raises DatasetError."""
    schema = PLAN if columns is None else pa.schema([PLAN.field(name) for name in columns])
    try:
        with open_parquet(path) as file:
            return completed(file.read(None if columns is None else list(columns)), schema)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetError(f"{path} is not a readable plan; restore it from a copy: {error}") from error


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of the plan files by path relative to `out`, as in dataset.json."""
    return {f"{PLAN_DIR}/{path.name}": sha256_of(path) for path in plan_files(out)}


def damaged(out: Path, listed: Mapping[str, str]) -> list[str]:
    """Names of existing plan files whose digest differs from dataset.json."""
    return [name for name, sha256 in digests(out).items() if listed.get(name, sha256) != sha256]


def planned_keys(out: Path) -> pa.ChunkedArray:
    """The keys of all planned clips; clips that were planned again occur more than once."""
    columns = [read_plan(path, ["key"])["key"] for path in plan_files(out)]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())


def units(out: Path) -> list[ShardUnit]:
    """All units of all plan files, in order."""
    return [unit for path in plan_files(out) for unit in _units_of(path)]


def archives(out: Path) -> set[str]:
    """Uris of the archives that contain planned clips."""
    found: set[str] = set()
    for path in plan_files(out):
        found |= archives_of(read_plan(path, ["spans"]))
    return found


def archives_of(rows: pa.Table) -> set[str]:
    """Uris of the archives in a table's column `spans`."""
    spans = pa.concat_arrays([chunk.flatten() for chunk in rows["spans"].chunks] or [pa.array([], SPAN)])
    names = [pc.struct_field(spans, [column, "archive"]) for column in ("packed", "track_packed")]
    return {name for column in names for name in pc.unique(column).to_pylist() if name is not None}


def read_unit(out: Path, unit: ShardUnit) -> list[ClipSpec]:
    """Read the clips of a unit, and only the row groups that contain them."""
    file = open_parquet(out / PLAN_DIR / unit.plan, memory_map=True)
    ends = np.cumsum([file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)])
    starts = np.concatenate([[0], ends[:-1]])
    groups = np.flatnonzero((starts < unit.stop) & (ends > unit.start))
    rows = completed(file.read_row_groups(groups.tolist()), PLAN).slice(unit.start - int(starts[groups[0]]), len(unit))
    return [spec_from_row(row) for row in rows.to_pylist()]


def _units_of(path: Path) -> Iterator[ShardUnit]:
    table = read_plan(path, ["source", "split", "unit"])
    number = table["unit"].to_numpy()
    split = table["split"].combine_chunks().dictionary_encode()
    changed = (np.diff(number) != 0) | (np.diff(split.indices.to_numpy()) != 0)
    edges = [0, *(np.flatnonzero(changed) + 1).tolist(), len(table)]
    for start, stop in pairwise(edges):
        name = shard_name(table["source"][start].as_py(), table["split"][start].as_py(), int(number[start]))
        yield ShardUnit(path.name, start, stop, table["split"][start].as_py(), name)


def _columns(clips: Iterator[ClipSpec], seed: int) -> pa.Table:
    """Convert the listing to a table in chunks: a million records as Python objects would take gigabytes."""
    schema = PLAN.remove(PLAN.get_field_index("unit")).append(pa.field("hash", pa.uint64()))
    chunks = [
        pa.RecordBatch.from_arrays(_arrays(chunk, seed), schema=schema) for chunk in iter(lambda: list(islice(clips, _CHUNK)), [])
    ]
    return _unique_keys(pa.Table.from_batches(chunks, schema))


def _arrays(chunk: list[ClipSpec], seed: int) -> list[pa.Array]:
    spans = [span for clip in chunk for span in clip.spans]
    offsets = np.concatenate([[0], np.cumsum([len(clip.spans) for clip in chunk])])
    return [
        *(pa.array([getattr(clip, name) for clip in chunk]) for name in ("key", "source", "split")),
        *(pa.array([text_of(getattr(clip, name)) for clip in chunk]) for name in ("identity", "video")),
        pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), _span_array(spans)),
        pa.array([clip.cost for clip in chunk], pa.float32()),
        pa.array([stable_hash(seed, clip.key) for clip in chunk], pa.uint64()),
    ]


def _span_array(spans: list[Span]) -> pa.StructArray:
    return pa.StructArray.from_arrays([_span_column(spans, field) for field in SPAN], fields=list(SPAN))


def _span_column(spans: list[Span], field: pa.Field) -> pa.Array:
    """One field of all spans. Most corpora leave most fields empty, and a null column needs almost no memory."""
    values = [getattr(span, field.name) for span in spans]
    if field.name not in _OFTEN_NULL or any(value is not None for value in values):
        if pa.types.is_struct(field.type):
            values = [None if value is None else asdict(value) for value in values]
        return pa.array(values, field.type)
    return pa.nulls(len(values), field.type)


def _unique_keys(listed: pa.Table) -> pa.Table:
    """Number repeated keys (the same clip in dev and test, a duplicate row) from the second occurrence on."""
    counts = listed["key"].value_counts()
    if not len(listed) or pc.max(counts.field("counts")).as_py() == 1:
        return listed
    repeated = set(counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist())
    seen: Counter[str] = Counter()
    keys = listed["key"].to_pylist()
    for row in np.flatnonzero(pc.is_in(listed["key"], pa.array(sorted(repeated))).to_numpy()):
        key = keys[row]
        seen[key] += 1
        if seen[key] > 1:
            keys[row] = f"{key}~{seen[key]}"
    return listed.set_column(0, "key", pa.array(keys))


def _write(out: Path, clips: pa.Table, config: BuildConfig) -> int:
    """Order clips, divide them into units and write one plan file, unless there are none. Returns the number of clips."""
    if not len(clips):
        return 0
    parts = []
    for split in sorted(pc.unique(clips["split"]).to_pylist()):
        part = filter_rows(clips, pc.equal(clips["split"], split).to_numpy())
        part = part.take(pa.array(np.argsort(part["hash"].to_numpy(), kind="stable")))
        number = assign_units(part["cost"].to_numpy().astype(np.float64), config.clips_per_shard) + _next_number(out, split)
        parts.append(part.drop_columns(["hash"]).append_column("unit", pa.array(number, pa.int32())))
    free = next(path for number in count() if not (path := plan_path(out, number)).exists())
    write_plan_file(out, free, pa.concat_tables(parts).cast(PLAN))
    return len(clips)


def write_plan_file(out: Path, path: Path, rows: pa.Table) -> None:
    """Write one plan file atomically."""
    with replacing(out, path) as temporary:
        pq.write_table(rows, temporary, compression="zstd", row_group_size=_ROW_GROUP)


def assign_units(cost: NDArray[np.float64], clips_per_shard: int) -> NDArray[np.int64]:
    """Assign clips to units of about equal cost: int64 [n], ascending from 0 without gaps."""
    few = min(_MIN_SHARDS, -(-len(cost) // _SMALLEST_SHARD))
    number = max(few, -(-len(cost) // clips_per_shard))
    middle = np.cumsum(cost) - cost / 2
    unit = (middle * (number / cost.sum())).astype(np.int64)
    return np.unique(unit, return_inverse=True)[1].astype(np.int64)


def _next_number(out: Path, split: str) -> int:
    numbers: list[Any] = [-1]
    for path in plan_files(out):
        rows = read_plan(path, ["unit", "split"])
        rows = rows.filter(pc.equal(rows["split"], split))
        numbers.append(pc.max(rows["unit"]).as_py())
    return int(max(number for number in numbers if number is not None)) + 1
