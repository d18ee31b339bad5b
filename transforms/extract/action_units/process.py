"""Runs a program that may hang or crash, and terminates it with all its descendants."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# A container's client forwards SIGTERM to the processes inside, which is impossible with SIGKILL.
_GRACE_S = 5.0
_TAIL_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class ExitResult:
    """How a program ended: its exit status as in subprocess, None after a timeout; and the end of its output."""

    status: int | None
    output: str


def run_limited(command: Sequence[str], limit_s: float, log: Path, environment: Mapping[str, str]) -> ExitResult:
    """Run a program for at most `limit_s`, with its output redirected to the file `log`.

    It stays in our process group, so that a supervisor that ends the group ends it too.

    Raises:
        OSError: the program cannot be started
    """
    with log.open("wb") as stream:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    try:
        status: int | None = program.wait(limit_s)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        if program.returncode is None:
            _end(program)
    return ExitResult(status, _tail(log))


def _end(program: "subprocess.Popen[bytes]") -> None:
    family = [program.pid, *_descendants(program.pid)]
    _signal(family, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        program.wait(_GRACE_S)
    _signal([pid for pid in family if pid != program.pid], signal.SIGKILL)
    program.kill()
    program.wait()


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _descendants(pid: int) -> list[int]:
    """Children of a process, their children, and so on."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _tail(log: Path) -> str:
    """The end of a log as one line without control characters."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = stream.read().decode("utf-8", "replace")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
