"""DuckDB in memory, with neither network nor any file but those that it is given.

It computes on one thread: sums of floats and the order of ties then do not depend on the number of cores.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

_SETTINGS: dict[str, str | int | float | list[str]] = {
    "threads": 1,
    "memory_limit": "50%",
    "python_enable_replacements": False,  # names of tables are no variables of ours
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


@contextmanager
def database(files: Sequence[Path] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an empty database that may read `files`; what exceeds half of the memory goes to a temporary directory."""
    with (
        tempfile.TemporaryDirectory(prefix="motionshards-sql-") as spill,
        duckdb.connect(config={**_SETTINGS, "temp_directory": spill}) as connection,
    ):
        connection.execute("SET allowed_paths = ?", [[str(file) for file in files]])
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        connection.execute("SELECT setseed(0)").fetchall()
        yield connection
