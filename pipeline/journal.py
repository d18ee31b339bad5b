"""Which clips each worker has in hand, so that a worker's death tells which clips to suspect.

One file a worker and unit, `<unit>.<pid>`, in a scratch directory of the machine: `+key` when a clip is begun, `-key` when
it is done. A line is one write, so it survives the death of its writer; nothing is synced, since a dead machine has no use
for it. The driver reads the same files for its progress bar.
"""

import os
import traceback
from collections.abc import Iterator
from pathlib import Path

# What the supervised child leaves for its parent: files in the scratch directory, and an exit status.
FAILURE = "failure.txt"
SUSPECTS = "suspects.txt"
WORKER_DIED = 75


class Journal:
    """The clips that this process has in hand. With no directory nothing is kept."""

    def __init__(self, directory: Path | None, unit: str) -> None:
        self._path = directory / f"{unit}.{os.getpid()}" if directory else None
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if self._path else None

    def begin(self, key: str) -> None:
        """A clip is in hand."""
        self._write(f"+{key}\n")

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
    in_hand: set[str] = set()
    for path, lines in _journals(directory).items():
        if not _alive(int(path.suffix[1:])):
            in_hand |= {line[1:] for line in lines if line[0] == "+"} - {line[1:] for line in lines if line[0] == "-"}
    return in_hand


def note_failure(directory: Path, error: Exception) -> None:
    """Leave the error in one line, and its trace below, for the driver to tell: runners bury it in traces of their own."""
    name = getattr(error, "filename", None)
    kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
    text = f"{error.strerror}: {name}" if isinstance(error, OSError) and name else f"{kind}{error}"
    (directory / FAILURE).write_text(f"{' '.join(text.split())}\n{traceback.format_exc()}")


def _journals(directory: Path) -> dict[Path, list[str]]:
    return {path: list(_lines(path)) for path in directory.iterdir() if path.suffix[1:].isdigit()}


def _lines(path: Path) -> Iterator[str]:
    try:
        content = path.read_text()
    except FileNotFoundError:  # its unit was committed just now
        return
    yield from (line for line in content.splitlines() if line)


def _alive(pid: int) -> bool:
    """Whether a process runs; a zombie, killed but not yet waited for, does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"
