"""Which clips each worker has in hand, so that a worker's death tells which clips to suspect.

One file a worker and unit, `<unit>.<host>.<pid>`: `+key` when a clip is begun, `-key` when it is done. A line is one write, so
it survives the death of its writer; nothing is synced, since a dead machine has no use for it. They lie in a scratch directory
of the machine, or where workers are on several, in the output's work folder. The driver reads the same files for its progress.
"""

import errno
import os
import socket
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# What the supervised child leaves for its parent: files in the scratch directory, and an exit status.
FAILURE = "failure.txt"
SUSPECTS = "suspects.txt"
WORKER_DIED = 75


class Abandoned(Exception):
    """The driver has taken the journals away: it was interrupted, and nobody waits for this unit any more."""


class Journal:
    """The clips that this process has in hand. With no directory nothing is kept."""

    def __init__(self, directory: Path | None, unit: str) -> None:
        self._path = directory / f"{unit}.{socket.gethostname()}.{os.getpid()}" if directory else None
        self._descriptor = None
        if self._path:
            try:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            except FileNotFoundError as error:
                raise Abandoned(unit) from error

    def begin(self, key: str) -> None:
        """A clip is in hand. Raises Abandoned."""
        if self._path is not None and not self._path.parent.exists():
            raise Abandoned(key)
        self._write(f"+{key}\n")

    def left_in_hand(self) -> frozenset[str]:
        """The clips that others had in hand who did not finish this unit: they died, or were given up for dead."""
        if self._path is None:
            return frozenset()
        unit = self._path.name.partition(".")[0]
        others = {path: lines for path, lines in _journals(self._path.parent).items() if path != self._path}
        return frozenset().union(*(_in_hand(lines) for path, lines in others.items() if path.name.partition(".")[0] == unit))

    def done(self, key: str) -> None:
        """A clip is finished or rejected."""
        self._write(f"-{key}\n")

    def close(self, *, committed: bool) -> None:
        """The unit is over; a committed unit is counted by its marker, so its journal goes."""
        if self._descriptor is not None and self._path is not None:
            os.close(self._descriptor)
            if committed:
                self._path.unlink(missing_ok=True)

    def _write(self, line: str) -> None:
        if self._descriptor is not None:
            os.write(self._descriptor, line.encode())


def finished_clips(directory: Path) -> int:
    """How many clips are done in units that are not committed yet."""
    return sum(line.startswith("-") for lines in _journals(directory).values() for line in lines)


def suspects(directory: Path) -> set[str]:
    """The clips that processes which no longer live had in hand."""
    dead = [lines for path, lines in _journals(directory).items() if not _alive(int(path.suffix[1:]))]
    return set().union(*map(_in_hand, dead))


def write_suspects(directory: Path) -> None:
    """Note which clips dead processes had in hand, for `read_suspects`."""
    (directory / SUSPECTS).write_bytes("\n".join(sorted(suspects(directory))).encode())


def read_suspects(directory: Path) -> frozenset[str]:
    """What `write_suspects` has noted; nothing where it was not called."""
    try:
        return frozenset(filter(None, (directory / SUSPECTS).read_bytes().decode().split("\n")))
    except FileNotFoundError:
        return frozenset()


def failure(directory: Path) -> str | None:
    """The error that `note_failure` has left, in one line; None where there is none."""
    try:
        noted = (directory / FAILURE).read_bytes().decode().partition("\n")[0]
    except FileNotFoundError:
        return None
    if noted:
        return noted
    if not os.statvfs(directory).f_bavail:
        return f"{os.strerror(errno.ENOSPC)}: {directory}"
    return f"a worker failed and could not record why in {directory}"


def note_failure(directory: Path, error: Exception) -> None:
    """Leave the error in one line, and its trace below, for the driver to tell: runners bury it in traces of their own."""
    name = getattr(error, "filename", None)
    kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
    text = f"{error.strerror}: {name}" if isinstance(error, OSError) and name else f"{kind}{error}"
    # Traces name files, whose names may hold bytes that are not UTF-8.
    content = f"{' '.join(text.split())}\n{traceback.format_exc()}".encode(errors="backslashreplace")
    whole = directory / f".failure-{os.getpid()}"
    with suppress(OSError):  # on a full disk: an empty note still says that the run has failed
        whole.write_bytes(content)
    whole.replace(directory / FAILURE)


def _in_hand(lines: list[str]) -> set[str]:
    return {line[1:] for line in lines if line[0] == "+"} - {line[1:] for line in lines if line[0] == "-"}


def _journals(directory: Path) -> dict[Path, list[str]]:
    return {path: list(_lines(path)) for path in directory.iterdir() if path.suffix[1:].isdigit()}


def _lines(path: Path) -> Iterator[str]:
    try:
        content = path.read_bytes().decode(errors="replace")  # a full disk cuts lines anywhere
    except FileNotFoundError:  # its unit was committed just now
        return
    # Not splitlines(): keys may hold other line ends, such as U+0085 and U+2028, but no newline.
    yield from (line for line in content.split("\n") if line)


def _alive(pid: int) -> bool:
    """Whether a process runs; a zombie, killed but not yet waited for, does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"
