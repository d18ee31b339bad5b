"""A process that exports clips: it receives tasks as messages, and reports each clip before reading it."""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from motionshards.dataset.export.clip import StoredClip
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import CRASHED, UNREADABLE, ClipSkipped, Settings, Write, format_of
from motionshards.dataset.index import read_members
from motionshards.schemas.atomic import beside, sync
from motionshards.schemas.errors import MotionShardsError, one_line
from motionshards.schemas.layout import tar_path
from motionshards.schemas.regular_file import open_regular
from motionshards.transforms.extract.stored_video import FrameReader


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message to a worker."""

    data: Path
    output: ExportDirectory
    format: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class Task:
    """Clips of a shard to export.

    rows: rows of the index, all columns
    first: number of the first clip among the shard's exported clips
    refused: keys of clips that crashed a worker
    killed: whether a worker was killed by SIGKILL during this task
    """

    split: str
    shard: str
    rows: tuple[dict[str, Any], ...] = field(repr=False)
    first: int = 0
    refused: frozenset[str] = frozenset()
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """Sent before a clip is read. number: its number in the task; None when all clips are done."""

    number: int | None


@dataclass(frozen=True, slots=True)
class Finished:
    """Sent at the end of a task. error: the exception that stopped it, or the traceback of a bug."""

    error: Exception | str | None = None


def main() -> None:
    """Run tasks until the connection is closed; its file descriptor is the command-line argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the main process stops this one
    threading.Thread(target=_end_with_main_process, daemon=True).start()
    reader = FrameReader()
    with Connection(int(sys.argv[1])) as connection, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        setup: Setup = connection.recv()
        while True:
            task: Task = connection.recv()
            connection.send(_finished(setup, task, reader, connection.send))


def _end_with_main_process() -> None:
    """Exit at once when the main process is killed: its lock is then released, and the next run must be the only writer."""
    sys.stdin.read()  # nothing is ever written there
    os._exit(1)


def _finished(setup: Setup, task: Task, reader: FrameReader, send: Callable[[Reading], None]) -> Finished:
    try:
        export_task(setup, task, reader, send)
    except (BrokenPipeError, ConnectionResetError):
        raise  # the main process has ended
    except (OSError, MotionShardsError) as error:
        return Finished(error)
    except Exception:
        return Finished(traceback.format_exc())
    return Finished()


def export_task(setup: Setup, task: Task, reader: FrameReader, send: Callable[[Reading], None]) -> None:
    """Export the clips of a task, then write its file of outcomes, see `ExportDirectory.lines`."""
    lines = []
    with format_of(setup.format).shard(setup.output, task.shard, task.split, setup.settings) as write:
        for number, row in enumerate(task.rows):
            send(Reading(number))
            outcome = {"left_out": CRASHED} if row["key"] in task.refused else _outcome(setup.data, row, reader, write)
            lines.append(json.dumps({"key": row["key"], **outcome}, ensure_ascii=False, separators=(",", ":")) + "\n")
        send(Reading(None))
    with beside(setup.output.lines(task.split, task.shard, task.first)) as temporary:
        temporary.write_text("".join(lines), "utf-8")
        sync(temporary)


def _outcome(data: Path, row: Mapping[str, Any], reader: FrameReader, write: Write) -> dict[str, Any]:
    """Export a clip; returns its outcome as listed in export.json."""
    try:
        made = write(StoredClip.of(row, _members(data, row), reader))
    except ClipSkipped as error:
        return {"left_out": error.reason}
    except ValueError as error:
        return {"left_out": UNREADABLE, "detail": one_line(error)}
    return {"files": made.files, "frames": made.frames}


def _members(data: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
    """The members of a clip by suffix. Raises ValueError: the shard cannot be read, or a member is damaged."""
    try:
        with open_regular(tar_path(data, row["split"], row["shard"])) as stream:
            return read_members(stream, row["members"])
    except OSError as error:
        raise ValueError(f"the shard cannot be read: {error.strerror}") from error
