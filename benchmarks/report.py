"""Shared parts of the benchmarks: command line, input, machine description, tables, and the JSON of the last line."""

import datetime
import importlib.metadata
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from motionshards.dataset.commandline import OUTPUT, Command, Options, command
from motionshards.pipeline.sources import SOURCES
from motionshards.transforms.extract.decoder.client import decoder_versions

ROOT = Path(__file__).resolve().parents[1]
_CORPUS = ROOT.parent / "shared" / "corpus" / "voxceleb2"
_PACKAGES = ("apache-beam", "dlib-bin", "numpy", "opencv-python", "pyarrow", "simplejpeg")

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of every benchmark."""

    results: Annotated[Path | None, Parameter(group=OUTPUT)] = None
    """Also write the tables to this Markdown file."""
    date: Annotated[datetime.date, Parameter(group=OUTPUT)] = field(default_factory=datetime.date.today)
    """Date of the report."""


@dataclass(frozen=True, kw_only=True)
class WorkOptions(ReportOptions):
    """Options of a benchmark that writes large temporary files."""

    work: Path | None = None
    """Directory for temporary files; by default the system's."""

    @contextmanager
    def work_dir(self) -> Iterator[Path]:
        """A temporary directory, removed at the end of the block."""
        with tempfile.TemporaryDirectory(prefix="motionshards-bench-", dir=self.work) as work:
            yield Path(work)


@dataclass(frozen=True, kw_only=True)
class CorpusOptions(WorkOptions):
    """Options of a benchmark that reads videos."""

    input: Path | None = None
    """Directory of videos in VoxCeleb2's layout; by default the test corpus if present, otherwise rendered videos."""


class Report:
    """Tables and notes, printed and written to a Markdown file immediately, so that an interrupted run keeps its first ones.

    The tables are Markdown that is readable as plain text.
    """

    def __init__(self, title: str, options: ReportOptions, results: Path | None = None) -> None:
        """results: default Markdown file, used if `options` names none."""
        self._results = options.results or results
        if self._results is not None:
            self._results.parent.mkdir(parents=True, exist_ok=True)
            self._results.write_text("", encoding="utf-8")
        self._add(f"# {title}\n\n{options.date}, {machine()}.\n{versions()}.\n")

    def table(self, heading: str, columns: Sequence[str], rows: Rows) -> None:
        """Add a table; the first column is aligned left, the others right."""
        self._add(f"## {heading}\n\n{markdown_table(columns, rows)}\n")

    def note(self, text: str) -> None:
        """Add a paragraph."""
        self._add(f"{text}\n")

    def finish(self, figures: dict[str, Any]) -> None:
        """Print the figures as JSON on the last line, and add them to the Markdown file as a block."""
        line = json.dumps({name: _rounded(value) for name, value in figures.items()})
        self._write(f"```json\n{line}\n```\n")
        print(line, flush=True)

    def _add(self, text: str) -> None:
        self._write(text)
        print(text, flush=True)

    def _write(self, text: str) -> None:
        if self._results is not None:
            with self._results.open("a", encoding="utf-8") as file:
                file.write(f"\n{text}" if file.tell() else text)


def benchmark(name: str) -> Callable[[Callable[[Options], int | None]], Command[Options]]:
    """Turn a function of an options dataclass in `benchmarks/NAME.py` into a command."""
    return command(name, program=f"python -m benchmarks.{name}")


def markdown_table(columns: Sequence[str], rows: Rows) -> str:
    """An aligned Markdown table."""
    cells = [list(columns), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(row, widths) for row in [cells[0], rule, *cells[1:]])


def corpus(given: Path | None, scratch: Path) -> tuple[Path, str]:
    """A directory in VoxCeleb2's layout and its name: the given one, or the test corpus, or rendered videos."""
    if given is not None:
        return given.resolve(), given.name
    if _CORPUS.is_dir():
        return _CORPUS, "the VoxCeleb2 test corpus"
    rendered = scratch / "demo-videos"
    SOURCES["demo"].prepare(rendered)
    return rendered, "rendered demo videos"


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> str:
    """Short description of cores, processor and system."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{cores()} cores of {model}, {platform.system()} {platform.release()}"


def versions() -> str:
    """Versions of Python and of the packages that do the work."""
    found = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES if _installed(name)]
    decoder = [f"FFmpeg {decoder_versions()['ffmpeg']} by PyAV {decoder_versions()['av']}"] if _installed("av") else []
    return ", ".join([f"Python {platform.python_version()}", *decoder, *found])


def peak_mib(pid: int | str = "self") -> float:
    """Peak resident memory of a process in MiB (VmHWM); 0 for one that has exited.

    ru_maxrss of this process is not used because it starts at the memory of the parent.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def _installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"


def _text(cell: Any) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}" if abs(cell) < 10 else f"{cell:.1f}"


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
