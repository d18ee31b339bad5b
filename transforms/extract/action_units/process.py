"""Running a program that may hang or crash, and ending it with all that it started."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# A container's client passes SIGTERM on to what runs inside, and cannot do so with SIGKILL.
_GRACE_S = 5.0
_TAIL_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its status as subprocess has it, None where it took too long and was ended; and what it said last."""

    status: int | None
    said: str


def run_limited(command: Sequence[str], limit_s: float, log: Path, environment: Mapping[str, str]) -> Ended:
    """Run a program to its end, at most `limit_s`; what it prints goes to the file `log`.

    It stays in our process group, so that it ends when a supervisor ends that.

    Raises:
        OSError: it cannot be started
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
    return Ended(status, _tail(log))


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
    """The processes that a process has started, and they in turn."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _tail(log: Path) -> str:
    """The last words of a log in one line, letters and no control characters."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = stream.read().decode("utf-8", "replace")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
