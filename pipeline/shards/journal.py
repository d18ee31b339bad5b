"""Journals of the clips in flight on each worker, so that the death of a worker identifies its suspects.

One file per worker and unit, `<unit>.<host>.<pid>`, with a line `+key` when a clip is started and `-key` when it is done. Each
line is a single write, so it survives the death of its writer. Nothing is fsynced: journals need not survive a machine crash.
They are in the machine's scratch directory or, with workers on several machines, in the output's work directory. The driver
also reads them for its progress bar.
"""

import errno
import os
import socket
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# How the supervised child reports to its parent: files in the scratch directory, and an exit status.
FAILURE = "failure.txt"
SUSPECTS = "suspects.txt"
WORKER_DIED = 75


class Abandoned(Exception):
    """The driver has deleted the journals: it was interrupted, and no longer waits for this unit."""


class Journal:
    """The journal of this process for one unit. Without a directory, nothing is recorded."""

    def __init__(self, directory: Path | None, unit: str) -> None:
        self._path = directory / f"{unit}.{socket.gethostname()}.{os.getpid()}" if directory else None
        self._descriptor = None
        if self._path:
            try:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            except FileNotFoundError as error:
                raise Abandoned(unit) from error

    def begin(self, key: str) -> None:
        """Record that a clip is started. Raises Abandoned."""
        if self._path is not None and not self._path.parent.exists():
            raise Abandoned(key)
        self._write(f"+{key}\n")

    def in_flight_elsewhere(self) -> frozenset[str]:
        """Clips in flight on other workers of this unit, which have not finished it: they died or are considered dead."""
        if self._path is None:
            return frozenset()
        unit = self._path.name.partition(".")[0]
        others = {path: lines for path, lines in _journals(self._path.parent).items() if path != self._path}
        return frozenset().union(*(_in_flight(lines) for path, lines in others.items() if path.name.partition(".")[0] == unit))

    def done(self, key: str) -> None:
        """Record that a clip is finished or rejected."""
        self._write(f"-{key}\n")

    def close(self, *, committed: bool) -> None:
        """Close the journal. That of a committed unit is deleted, since the marker accounts for its clips."""
        if self._descriptor is not None and self._path is not None:
            os.close(self._descriptor)
            if committed:
                self._path.unlink(missing_ok=True)

    def _write(self, line: str) -> None:
        if self._descriptor is not None:
            os.write(self._descriptor, line.encode())


def finished_clips(directory: Path) -> int:
    """Number of finished clips in units that are not committed yet."""
    return sum(line.startswith("-") for lines in _journals(directory).values() for line in lines)


def suspects(directory: Path) -> set[str]:
    """The clips that were in flight on processes that no longer run."""
    dead = [lines for path, lines in _journals(directory).items() if not _alive(int(path.suffix[1:]))]
    return set().union(*map(_in_flight, dead))


def write_suspects(directory: Path) -> None:
    """Record the clips in flight on dead processes, for `read_suspects`."""
    (directory / SUSPECTS).write_bytes("\n".join(sorted(suspects(directory))).encode())


def read_suspects(directory: Path) -> frozenset[str]:
    """The clips recorded by `write_suspects`; empty if it was not called."""
    try:
        return frozenset(filter(None, (directory / SUSPECTS).read_bytes().decode().split("\n")))
    except FileNotFoundError:
        return frozenset()


def failure(directory: Path) -> str | None:
    """The error recorded by `record_failure`, in one line; None if there is none."""
    try:
        message = (directory / FAILURE).read_bytes().decode().partition("\n")[0]
    except FileNotFoundError:
        return None
    if message:
        return message
    if not os.statvfs(directory).f_bavail:
        return f"{os.strerror(errno.ENOSPC)}: {directory}"
    return f"a worker failed and could not record why in {directory}"


def record_failure(directory: Path, error: Exception) -> None:
    """Record the error in one line, followed by its traceback, for the driver: runners bury errors in their own tracebacks."""
    name = getattr(error, "filename", None)
    kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
    text = f"{error.strerror}: {name}" if isinstance(error, OSError) and name else f"{kind}{error}"
    # Tracebacks contain file names, which may not be UTF-8.
    content = f"{' '.join(text.split())}\n{traceback.format_exc()}".encode(errors="backslashreplace")
    temporary = directory / f".failure-{os.getpid()}"
    with suppress(OSError):  # on a full disk, an empty file still signals the failure
        temporary.write_bytes(content)
    temporary.replace(directory / FAILURE)


def _in_flight(lines: list[str]) -> set[str]:
    return {line[1:] for line in lines if line[0] == "+"} - {line[1:] for line in lines if line[0] == "-"}


def _journals(directory: Path) -> dict[Path, list[str]]:
    return {path: list(_lines(path)) for path in directory.iterdir() if path.suffix[1:].isdigit()}


def _lines(path: Path) -> Iterator[str]:
    try:
        content = path.read_bytes().decode(errors="replace")  # a full disk may truncate lines anywhere
    except FileNotFoundError:  # its unit has just been committed
        return
    # Not splitlines(): keys may contain other line separators, such as U+0085 and U+2028, but no newline.
    yield from (line for line in content.split("\n") if line)


def _alive(pid: int) -> bool:
    """Whether a process is running; a zombie, killed but not yet reaped, is not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"
