"""Reads and compares the tables of a dataset shard by shard, with at most one row group in memory."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from motionshards.schemas.tables import completed, open_parquet

# What reading a damaged parquet file can raise; pyarrow does not wrap errors of Python's decoding.
UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, MemoryError)


def cause_of(error: BaseException) -> str:
    """The cause of an error in one line, without the path, which messages contain anyway."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__).splitlines()[0]


class RowsByShard:
    """A parquet file with a column `shard`, read one shard at a time.

    Raises:
        one of UNREADABLE: it cannot be read, or has other columns than `schema`; also from `of`
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = open_parquet(path)
        self._schema = schema
        if strange := set(self._file.schema_arrow.names) - set(schema.names):
            raise pa.ArrowInvalid(f"it has unknown columns: {', '.join(sorted(strange))}")
        groups = [self._file.metadata.row_group(number).num_rows for number in range(self._file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        self._runs: dict[str, list[tuple[int, int]]] = {}
        for number, first in enumerate(self._starts[:-1].tolist()):
            for shard, start, stop in _runs(self._file.read_row_group(number, ["shard"])["shard"]):
                self._runs.setdefault(shard, []).append((first + start, first + stop))
        self._read: tuple[int, pa.Table] = (-1, schema.empty_table())

    @property
    def shards(self) -> dict[str, int]:
        """The number of rows of each shard."""
        return {shard: sum(stop - start for start, stop in runs) for shard, runs in self._runs.items()}

    def of(self, shard: str) -> pa.Table:
        """The rows of a shard; fast if shards are requested in the order of the file."""
        parts = [part for start, stop in self._runs.get(shard, []) for part in self._rows(start, stop)]
        return pa.concat_tables([self._schema.empty_table(), *parts])

    def _rows(self, start: int, stop: int) -> Iterator[pa.Table]:
        for number in np.flatnonzero((self._starts[:-1] < stop) & (self._starts[1:] > start)).tolist():
            first = int(self._starts[number])
            begin, end = max(start - first, 0), min(stop, int(self._starts[number + 1])) - first
            yield self._group(number).slice(begin, end - begin)

    def _group(self, number: int) -> pa.Table:
        if self._read[0] != number:
            group = completed(self._file.read_row_group(number), self._schema)
            group.validate(full=True)
            self._read = (number, group)
        return self._read[1]


def _runs(shard: pa.ChunkedArray) -> Iterator[tuple[str, int, int]]:
    """Ranges of consecutive rows with the same shard, in order; in a correct file, each shard has one range."""
    coded = pc.fill_null(shard, "").combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy()
    for start, stop in pairwise([0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]):
        if stop > start:
            yield coded.dictionary[int(codes[start])].as_py(), start, stop


def repeated(keys: pa.ChunkedArray) -> pa.Array:
    """The keys that occur more than once."""
    counts = pc.value_counts(keys)
    return counts.field("values").filter(pc.greater(counts.field("counts"), 1))


def compare_keys(found: pa.ChunkedArray, expected: Any, where: str) -> Iterator[str]:
    """A line for each missing, unexpected or repeated key, or one for a wrong order; `where` names the place of `expected`."""
    expected = pa.chunked_array([expected]) if isinstance(expected, pa.Array) else expected
    if found.equals(expected):
        return
    faults = [
        *(f"{key}: is missing here, but {where}" for key in _without(expected, found)),
        *(f"{key}: is not {where}" for key in _without(found, expected)),
        *(f"{key}: is listed more than once" for key in repeated(found).to_pylist()),
    ]
    yield from faults or [f"the order of clips differs from that {where}"]


def _without(keys: pa.ChunkedArray, others: pa.ChunkedArray) -> list[str]:
    missing: list[str] = pc.unique(keys.filter(pc.invert(pc.is_in(keys, others.combine_chunks())))).to_pylist()
    return missing


def compare_rows(found: pa.Table, expected: pa.Table, where: str) -> Iterator[str]:
    """Errors in the rows of a shard, which must be bit-identical to the expected ones; both tables have the same schema."""
    different = list(compare_keys(found["key"], expected["key"], where))
    yield from different
    if different:
        return
    for name in found.schema.names:
        if not _same(found[name].combine_chunks(), expected[name].combine_chunks()):
            rows = (number for number in range(len(found)) if not _same(_one(found, name, number), _one(expected, name, number)))
            yield f"{found['key'][next(rows)]}: {name} differs from the value {where}"


def _one(table: pa.Table, name: str, row: int) -> pa.Array:
    return table[name].slice(row, 1).combine_chunks()


def _same(first: pa.Array, second: pa.Array) -> bool:
    """Whether two arrays are equal, with NaN equal to itself, unlike `Array.equals`."""
    if pa.types.is_list(first.type):
        return bool(pc.list_value_length(first).equals(pc.list_value_length(second))) and _same(first.flatten(), second.flatten())
    if pa.types.is_struct(first.type):
        return all(map(_same, first.flatten(), second.flatten()))
    if pa.types.is_floating(first.type):
        bits = pa.int32() if first.type == pa.float32() else pa.int64()
        first, second = first.view(bits), second.view(bits)
    return bool(first.equals(second))
