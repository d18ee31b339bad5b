"""Answer an SQL query over the tables of a dataset.

    motionshards sql OUT "SELECT identity, count(*) AS clips FROM clips GROUP BY identity" [--format table|csv|jsonl|parquet]

DuckDB runs it over the dataset's tables only: a query cannot read other files or open connections. Without ORDER BY, rows are
sorted by all columns. Exit status: 0 done, 2 invalid arguments or query, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import csv
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from cyclopts import Parameter
from cyclopts.types import PositiveInt

from motionshards.dataset.commandline import OUTPUT, DatasetArgument, choice, command, show
from motionshards.dataset.index import Dataset, readable
from motionshards.dataset.query.database import database
from motionshards.dataset.query.formatting import aligned, format_value
from motionshards.dataset.reading.people_table import read_people
from motionshards.dataset.storage.bucket import directory_of
from motionshards.schemas.errors import ConfigError, DatasetError, StoreFailed
from motionshards.schemas.layout import INDEX, PEOPLE, REJECTIONS
from motionshards.schemas.printable import printable
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA
from motionshards.schemas.tables import check_columns, open_parquet

_FILES = {"clips": (INDEX, INDEX_SCHEMA), "rejections": (REJECTIONS, REJECTIONS_SCHEMA)}
_OF_SHARDS = ("name", "split", "clips", "rejected", "bytes", "sha256")
_BATCH_ROWS = 1 << 14
_INTERRUPT_EVERY_S = 0.05
_LONGEST_CELL = 60
_ROW = "the whole row"  # an alias that no column is likely to have

Batches = Iterator[pa.RecordBatch]
Fetched = TypeVar("Fetched")


@contextmanager
def select(out: Path, query: str, columns: str = "*") -> Iterator[tuple[pa.Schema, Batches]]:
    """Run one SELECT statement; yields the schema of the result and its rows in batches.

    columns: SQL select list applied to the result

    Raises:
        ConfigError: the query is not a single SELECT statement, or DuckDB rejects it
        DatasetError: there is no finished dataset, or its tables cannot be read
    """
    data = Dataset.open(out)
    # DuckDB runs in a separate thread, since signals cannot interrupt it in the main thread.
    files = {name: out / file for name, (file, _) in _FILES.items()}
    with database(files) as connection, ThreadPoolExecutor(1) as thread:
        _add_tables(connection, data)

        def fetch(what: Callable[[], Fetched]) -> Fetched:
            running = thread.submit(_in_one_line, what)
            try:
                return running.result()
            finally:
                _stop(connection, running)

        reader = fetch(lambda: _sorted(connection, query).project(columns).to_arrow_reader(_BATCH_ROWS))
        yield reader.schema, iter(lambda: fetch(lambda: next(reader, None)), None)


def _stop(connection: duckdb.DuckDBPyConnection, running: Future[Any]) -> None:
    """Interrupt a running query, repeatedly: DuckDB ignores an interrupt that arrives before the query starts."""
    while not running.done():
        with suppress(KeyboardInterrupt):  # a second signal changes nothing
            connection.interrupt()
            wait([running], _INTERRUPT_EVERY_S)


def _add_tables(connection: duckdb.DuckDBPyConnection, data: Dataset) -> None:
    for name, (file, schema) in _FILES.items():
        try:
            _add_file(connection, name, data.out / file, schema)
        except duckdb.Error as error:
            raise DatasetError(f"{data.out / file} cannot be read: {_first_lines(error)}") from error
    with suppress(DatasetError):  # missing or outdated: leave the table out
        connection.register("people", read_people(data.out / PEOPLE, data.manifest.files.get(INDEX, "")))
    kinds = [pa.string(), pa.string(), pa.int64(), pa.int64(), pa.int64(), pa.string()]
    shards = [{name: getattr(entry, name) for name in _OF_SHARDS} for entry in data.manifest.shards]
    connection.register("shards", pa.Table.from_pylist(shards, pa.schema(list(zip(_OF_SHARDS, kinds, strict=True)))))


def _add_file(connection: duckdb.DuckDBPyConnection, name: str, path: Path, schema: pa.Schema) -> None:
    """Register a file as a table with the columns of `schema`; columns missing in its format version are null."""
    with readable(path), open_parquet(path) as table:
        check_columns(table.schema_arrow, str(path))
    rows, whole = connection.read_parquet(f"tables://{name}"), connection.from_arrow(schema.empty_table())
    columns = (
        f'"{column}"' if column in rows.columns else f'NULL::{kind} AS "{column}"'
        for column, kind in zip(whole.columns, whole.types, strict=True)
    )
    rows.project(", ".join(columns)).create_view(name)


def _sorted(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyRelation:
    """The result of the query, sorted by all columns unless it has an ORDER BY."""
    statements = connection.extract_statements(query)
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        raise ConfigError("sql: the query must be one SELECT statement")
    (tree,) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()[0]
    node = json.loads(tree)["statements"][0]["node"]
    if any(each["value"]["query_node"]["type"].endswith("_QUERY_NODE") for each in node["cte_map"]["map"]):
        raise ConfigError("sql: WITH must name SELECT statements")  # other kinds of statements can write
    answer = connection.sql(statements[0].query.rstrip("; \n"))
    is_sorted = any(modifier["type"] == "ORDER_MODIFIER" for modifier in node["modifiers"])
    return (answer if is_sorted else answer.order("ALL")).set_alias(_ROW)


def _in_one_line(what: Callable[[], Fetched]) -> Fetched:
    """Call a function, turning DuckDB's errors into a one-line ConfigError."""
    try:
        return what()
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise ConfigError(f"sql: {_first_lines(error)}") from error


def _first_lines(error: Exception) -> str:
    """DuckDB's message on one line, without the excerpt of the query below it."""
    return " ".join(str(error).partition("\nLINE ")[0].split())


def _write_table(schema: pa.Schema, batches: Batches, top: int) -> None:
    rows: list[list[str]] = []
    count = 0
    for batch in batches:
        shown = batch.slice(0, top - len(rows))
        rows += [list(map(_cell, row)) for row in zip(*(column.to_pylist() for column in shown.columns), strict=True)]
        count += len(batch)
    left = [at for at, kind in enumerate(schema.types) if not pa.types.is_primitive(kind) and not pa.types.is_decimal(kind)]
    more = [f"… and {count - top:,} more"] if count > top else []
    show("\n".join([aligned([list(map(printable, schema.names)), *rows], left), *more]))


def _cell(value: Any) -> str:
    if value is None or type(value) in (int, float, Decimal):
        return format_value(value)
    text = printable(str(value))
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"


def _write_csv(schema: pa.Schema, batches: Batches, top: int) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(printable, schema.names))
    for batch in batches:
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            writer.writerow(printable(cell or "") for cell in row)


def _write_jsonl(schema: pa.Schema, batches: Batches, top: int) -> None:
    for batch in batches:
        for text in batch.column(0).to_pylist():
            print(json.dumps(json.loads(text, parse_constant=lambda _: None)))  # JSON has no NaN, DuckDB writes it


def _write_parquet(schema: pa.Schema, batches: Batches, top: int) -> None:
    if sys.stdout.isatty():
        raise ConfigError("--format parquet writes binary data: redirect stdout to a file, > FILE.parquet")
    with pq.ParquetWriter(sys.stdout.buffer, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


# name -> select list that it needs, and its writer
_FORMATS: dict[str, tuple[str, Callable[[pa.Schema, Batches, int], None]]] = {
    "table": ("*", _write_table),
    "csv": ("COLUMNS(*)::VARCHAR", _write_csv),
    "jsonl": (f'to_json("{_ROW}")', _write_jsonl),
    "parquet": ("*", _write_parquet),
}


@dataclass(frozen=True, kw_only=True)
class SqlOptions(DatasetArgument):
    """Options of `motionshards sql`."""

    query: str = field(kw_only=False)
    """One SELECT statement over the tables clips, rejections, shards and people; "DESCRIBE clips" lists columns."""
    format: Annotated[str, choice(_FORMATS), Parameter(group=OUTPUT)] = "table"
    """Output format. `csv`, `jsonl` (one object per line) and `parquet` write all rows to stdout, with full values."""
    top: Annotated[PositiveInt, Parameter(group=OUTPUT)] = 50
    """Number of rows to show with `--format table`."""


@command("sql", unusable=(ConfigError, DatasetError, StoreFailed))
def main(options: SqlOptions) -> None:
    """Answer an SQL query over the tables of a dataset."""
    columns, write = _FORMATS[options.format]
    with directory_of(options.data) as (out, _), select(out, options.query, columns) as (schema, batches):
        write(schema, batches, options.top)
        sys.stdout.flush()
