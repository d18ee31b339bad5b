"""All GPU checks in one command of at most six minutes: the tests marked `gpu`, then benchmarks in order of importance.

    python -m benchmarks.gpu [--only fomm] [--minutes 6] [--device cpu]

Each row of benchmarks/gpu_rows.py runs in a separate process with a time limit, and is written to benchmarks/results/gpu.md as
soon as it is done. A row that fails or times out is reported with its error, and the others continue; the exit status is then 1.
Data are rendered and weights random: nothing is downloaded, and neither ffmpeg nor a video decoder is needed. `--device cpu` only
shows that all rows run: at their smallest size, without time limits, and without a results file unless `--results` names one.
"""

import importlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cyclopts.types import PositiveFloat

from benchmarks.clock import device_and_name
from benchmarks.gpu_rows import MODULES, Goal, Row, names, prepare
from benchmarks.report import ROOT, Report, WorkOptions, benchmark
from motionshards.dataset.commandline import DeviceOption
from motionshards.schemas.errors import ConfigError

_RESULTS = ROOT / "benchmarks" / "results" / "gpu.md"
_MIN_S = 5.0
_SUMMARY = re.compile(r"^(?:FAILED|ERROR|SKIPPED) .*|^.*\b(?:passed|failed|skipped|errors?|collected)\b.*$", re.MULTILINE)
# Rows are forked from a process that has imported everything and has not used CUDA.
_PROCESSES = multiprocessing.get_context("forkserver")


@dataclass(frozen=True, kw_only=True)
class GpuOptions(WorkOptions, DeviceOption):
    """Options of the benchmark."""

    only: tuple[str, ...] = ()
    """Only this row; may be repeated."""
    minutes: PositiveFloat = 5.8
    """Time limit of all rows together; rows that do not fit are skipped."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished row.

    text: its section of the report
    figures: those of its last line; empty if it failed
    failure: the error; empty if there is none
    """

    row: Row
    seconds: float
    text: str
    figures: dict[str, Any]
    failure: str


@benchmark("gpu")
def main(options: GpuOptions) -> int:
    """Run the GPU tests and all GPU benchmarks within six minutes."""
    if unknown := set(options.only) - set(names()):
        raise ConfigError(f"--only {', '.join(sorted(unknown))}: no such row, choose from {', '.join(names())}")
    until = time.monotonic() + 60 * options.minutes
    device, name = device_and_name(options.device)
    dry = device == "cpu"
    report = Report("benchmarks/gpu.py: all GPU checks", options, None if dry else _RESULTS)
    report.note(f"{name}{'' if dry else f', CUDA {torch.version.cuda}, driver {_driver()}'}. Data are rendered, weights random.")
    _PROCESSES.set_forkserver_preload([f"benchmarks.{module}" for module in MODULES])
    with options.work_dir() as work:
        rows = [row for row in prepare(work, device) if not options.only or row.name in options.only]
        done = [_report(report, _run(row, work, until)) for row in rows]
    report.table("Goals", ("row", "figure", "found", "goal", "met"), [line for one in done for line in _goals(one)])
    failed = [one.row.name for one in done if one.failure]
    report.finish({"device": device, **{one.row.name: one.figures for one in done}, "failed": failed})
    return 1 if failed else 0


def _report(report: Report, done: Done) -> Done:
    failed = f"**Failed:** {done.failure}" if done.failure else ""
    report.note("\n\n".join(filter(None, (f"## {done.row.heading}", failed, done.text, f"Took {done.seconds:.0f} s."))))
    return done


def _run(row: Row, work: Path, until: float) -> Done:
    """Run a row in a separate process, which is killed with all its children at the time limit."""
    limit_s = min(row.limit_s, until - time.monotonic())
    if limit_s < _MIN_S:
        return Done(row, 0.0, "", {}, "skipped: no time left")
    place = work / row.name
    place.mkdir()
    began = time.monotonic()
    process = _PROCESSES.Process(target=_child, args=(row, place))
    process.start()
    try:
        process.join(limit_s)
        status = process.exitcode
    finally:
        with suppress(ProcessLookupError):  # all its processes have exited
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
    text, figures = _section(row, place)
    return Done(row, time.monotonic() - began, text, figures, _failure(status, place, limit_s))


def _child(row: Row, place: Path) -> None:
    os.setsid()
    if row.threads is not None:
        torch.set_num_threads(row.threads)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with (place / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    module, arguments = row.module, list(row.arguments)
    if module != "pytest":
        module, arguments = f"benchmarks.{module}", [*arguments, "--results", str(place / "results.md")]
    sys.exit(int(importlib.import_module(module).main(arguments)))


def _section(row: Row, place: Path) -> tuple[str, dict[str, Any]]:
    """The report of a row, even if it timed out, and the figures of its last line."""
    if row.module == "pytest":
        lines = _SUMMARY.findall((place / "stdout").read_text())
        return "\n".join(f"- {line}" for line in lines), {"summary": lines[-1] if lines else ""}
    if not (place / "results.md").exists():
        return "", {}
    head_and_body = (place / "results.md").read_text().split("\n\n", 2)  # the title, the machine, and the content
    tables, _, rest = "".join(head_and_body[2:]).partition("```json\n")
    line, whole, _ = rest.partition("\n```")
    return tables.replace("## ", "### ").strip(), json.loads(line) if whole else {}


def _failure(status: int | None, place: Path, limit_s: float) -> str:
    """Why a row failed, with the last line of its output; empty if it succeeded."""
    if status == 0:
        return ""
    lines = [line for line in (place / "stderr").read_text(errors="replace").splitlines() if line.strip()]
    print(*lines[-20:], sep="\n", file=sys.stderr)
    outcome = f"timed out after {limit_s:.0f} s" if status is None else f"status {status}"
    return f"{outcome}{f': {lines[-1]}' if lines else ''}"


def _goals(done: Done) -> list[tuple[Any, ...]]:
    """The lines of a row in the last table."""
    return [(done.row.name, goal.figure, *_judged(goal, done.figures.get(goal.figure))) for goal in done.row.goals]


def _judged(goal: Goal, found: Any) -> tuple[Any, str, str]:
    if found is None:
        return "—", str(goal), "not measured"
    return found, str(goal), "yes" if goal.is_met(found) else "no"


def _driver() -> str:
    """Version of NVIDIA's driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown"
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0].strip()


if __name__ == "__main__":
    sys.exit(main())
