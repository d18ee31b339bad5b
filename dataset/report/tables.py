"""Reads the tables of a dataset in pieces: by row group, and single rows by number."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from motionshards.schemas.errors import DatasetError
from motionshards.schemas.tables import completed, open_parquet

Rows = NDArray[np.int64]
"""int64 [n], row numbers in a table, from 0."""


def pieces(path: Path, schema: pa.Schema, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """The row groups of a table with these columns, each with the number of its first row, one at a time.

    Raises:
        DatasetError: the table cannot be read, or does not have `schema`
    """
    with _opened(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            table = _group(file, group, schema, columns)
            yield first, table
            first += len(table)


def rows_at(path: Path, schema: pa.Schema, columns: Sequence[str], rows: Rows) -> list[dict[str, Any]]:
    """The rows with these numbers, in the given order; reads only the row groups needed. Raises DatasetError."""
    found: dict[int, dict[str, Any]] = {}
    with _opened(path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        ends = np.cumsum(sizes, dtype=np.int64)
        home = np.searchsorted(ends, rows, side="right")
        for group in np.unique(home).tolist():
            in_group = np.unique(rows[home == group])
            table = _group(file, group, schema, columns)
            taken = table.take(pa.array(in_group - (ends[group] - sizes[group]))).to_pylist()
            found |= dict(zip(in_group.tolist(), taken, strict=True))
    return [found[row] for row in rows.tolist()]


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Raise read errors as DatasetError."""
    try:
        with open_parquet(path) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def _group(file: pq.ParquetFile, group: int, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """A row group with these columns, in this order; parquet returns them in the order of the file."""
    part = pa.schema([schema.field(name) for name in columns])
    return completed(file.read_row_group(group, list(columns)), part)
