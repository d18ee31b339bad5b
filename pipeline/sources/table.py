"""Tolerant csv parsing: comma, semicolon or tab, BOM, UTF-16, any line endings."""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from motionshards.schemas.errors import ConfigError

_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    place: `line 7`, or `lines 7-9` if a quoted cell contains line breaks
    cells: column -> text; columns that the row lacks are absent
    error: why the row cannot be parsed; empty if it can
    """

    place: str
    cells: dict[str, str]
    error: str = ""


def read_rows(name: str, content: bytes, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a csv file with at least these columns; their names are matched ignoring case and surrounding spaces.

    A row with a cell of more than 131,072 characters (the limit of the csv module) has an error.

    Raises:
        ConfigError: columns are missing, or the file is binary
    """
    stream = _decoded(content)
    reader = csv.reader(stream, delimiter=_delimiter(content, columns))
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
    except csv.Error as error:
        raise ConfigError(f"cannot read {name}: {error}") from error
    missing = [column for column in columns if column.lower() not in header]
    if missing:
        raise ConfigError(f"{name} lacks the columns {', '.join(missing)}")
    canonical = {column.lower(): column for column in columns}
    names = [canonical.get(column, column) for column in header]
    yield from _rows(reader, names)


def _rows(reader: Any, names: list[str]) -> Iterator[Row]:
    while True:
        before, cells, error = reader.line_num + 1, list[str](), ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as reason:
            error = str(reason)
        last = reader.line_num
        place = f"line {last}" if last <= before else f"lines {before}-{last}"
        if cells or error:
            yield Row(place, dict(zip(names, cells, strict=False)), error)


def _decoded(content: bytes) -> io.TextIOWrapper:
    """Decode the file. Bytes that are not UTF-8 become surrogates, so that they match file names."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return io.TextIOWrapper(io.BytesIO(content), "utf-16", "replace", newline="")
    return io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", "surrogateescape", newline="")


def _delimiter(content: bytes, columns: Sequence[str]) -> str:
    """The delimiter with which most of the columns are found in the header."""
    header = _decoded(content).readline().lower()
    found = {
        delimiter: {cell.strip(' "\r\n') for cell in header.split(delimiter)} & {column.lower() for column in columns}
        for delimiter in _DELIMITERS
    }
    return max(_DELIMITERS, key=lambda delimiter: len(found[delimiter]))
