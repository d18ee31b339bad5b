"""DuckDB in memory, without network access and with read-only access to the given files only.

It uses one thread, so that sums of floats and the order of ties do not depend on the number of cores.
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
    "async_threads": 0,  # DuckDB seeks and then reads, so threads must not share a Python file
    "memory_limit": "50%",
    "python_enable_replacements": False,  # names of tables must not resolve to Python variables
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


class _ReadOnly(AbstractFileSystem):  # type: ignore[misc]
    """Files by name, for DuckDB's scanner. DuckDB could also write, by COPY, to paths that it may open itself."""

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
    """A connection to an empty database, which spills to a temporary directory beyond half of the memory.

    files: name -> file that can be read as `tables://NAME`
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
            with suppress(duckdb.ResourceInUseException):  # after a second interrupt while waiting for an interrupted query
                connection.close()
