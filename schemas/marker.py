"""The marker of a shard: a parquet file with the rows of its clips, and its `ShardEntry` in the file's metadata."""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DatasetError
from schemas.manifest import ShardEntry
from schemas.tables import MARKER

_ENTRY = b"motionshards"


def write_marker(path: Path, entry: ShardEntry, rows: pa.Table) -> None:
    """Write a marker; the caller sees to it that it appears whole."""
    pq.write_table(rows.replace_schema_metadata({_ENTRY: json.dumps(asdict(entry)).encode()}), path, compression="zstd")


def read_entry(path: Path) -> ShardEntry:
    """The entry of a marker alone. Raises DatasetError."""
    try:
        return ShardEntry(**json.loads(pq.read_schema(path).metadata[_ENTRY]))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} is not a readable marker: {error}") from error


def read_marker(path: Path) -> tuple[ShardEntry, pa.Table]:
    """The entry and the rows of a marker.

    Raises:
        DatasetError: it is damaged or no marker
    """
    try:
        stored = pq.ParquetFile(path).read()
        return ShardEntry(**json.loads(stored.schema.metadata[_ENTRY])), stored.cast(MARKER)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} is not a readable marker: {error}") from error
