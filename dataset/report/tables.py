"""The tables of a data set read in pieces: a row group at a time, and single rows by their numbers."""

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
"""int64 [n], numbers of rows in a table, counted from 0."""


def pieces(path: Path, schema: pa.Schema, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """The row groups of a table with these columns, each with the number of its first row; memory is that of one.

    Raises:
        DatasetError: the table cannot be read, or is not of `schema`
    """
    with _opened(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            table = _group(file, group, schema, columns)
            yield first, table
            first += len(table)


def rows_at(path: Path, schema: pa.Schema, columns: Sequence[str], rows: Rows) -> list[dict[str, Any]]:
    """The rows with these numbers, in their order; groups that hold none of them are not read. Raises DatasetError."""
    found: dict[int, dict[str, Any]] = {}
    with _opened(path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        ends = np.cumsum(sizes, dtype=np.int64)
        home = np.searchsorted(ends, rows, side="right")
        for group in np.unique(home).tolist():
            wanted = np.unique(rows[home == group])
            table = _group(file, group, schema, columns)
            taken = table.take(pa.array(wanted - (ends[group] - sizes[group]))).to_pylist()
            found |= dict(zip(wanted.tolist(), taken, strict=True))
    return [found[row] for row in rows.tolist()]


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Failures of reading become a DatasetError."""
    try:
        with open_parquet(path) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def _group(file: pq.ParquetFile, group: int, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """A row group with these columns, in this order; parquet gives them in that of the file."""
    part = pa.schema([schema.field(name) for name in columns])
    return completed(file.read_row_group(group, list(columns)), part)
