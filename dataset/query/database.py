"""DuckDB in memory, with neither network nor any file but those that it is given, which it cannot write.

It computes on one thread: sums of floats and the order of ties then do not depend on the number of cores.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import duckdb
from fsspec import AbstractFileSystem

from motionshards.schemas.regular_file import open_regular

_SETTINGS: dict[str, str | int | float | list[str]] = {
    "threads": 1,
    "async_threads": 0,  # DuckDB seeks and then reads: no two threads may share a Python file
    "memory_limit": "50%",
    "python_enable_replacements": False,  # names of tables are no variables of ours
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


class _ReadOnly(AbstractFileSystem):  # type: ignore[misc]
    """Files by name, for DuckDB's scanner. Paths that DuckDB may read itself it may also write, by COPY."""

    protocol = "tables"
    cachable = False

    def __init__(self, files: Mapping[str, Path]) -> None:
        super().__init__()
        self._files = files

    def _path(self, url: str) -> Path:
        return self._files[self._strip_protocol(url)]

    def open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            raise PermissionError(f"{path} is read-only")
        return open_regular(self._path(path))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": self._path(path).stat().st_size, "type": "file"}

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(self._path(path).stat().st_mtime, UTC)

    def glob(self, path: str, **_: Any) -> list[str]:
        return [path]


@contextmanager
def database(files: Mapping[str, Path] = MappingProxyType({})) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an empty database; what exceeds half of the memory goes to a temporary directory.

    files: name -> a file that it may read as `tables://NAME`
    """
    with tempfile.TemporaryDirectory(prefix="motionshards-sql-") as spill:
        connection = duckdb.connect(config={**_SETTINGS, "temp_directory": spill})
        try:
            connection.register_filesystem(_ReadOnly(files))
            connection.execute("SET allowed_paths = ?", [[f"tables://{name}" for name in files]])
            connection.execute("SET enable_external_access = false; SET lock_configuration = true")
            connection.execute("SELECT setseed(0)").fetchall()
            yield connection
        finally:
            with suppress(duckdb.ResourceInUseException):  # a second interrupt ended the wait for a query that was interrupted
                connection.close()
