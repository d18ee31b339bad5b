"""Speed of exports compared with decoding and encoding alone, and of FramesDataset compared with what the original loaders read.

    python -m benchmarks.export [--clips 19] [--copies 8] [--rounds 3] [--only export|items]

The input of `benchmarks.clips`: 150 frames of 224 px with sound, here with landmarks. Sides alternate.
"""

import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from cyclopts.types import PositiveFloat, PositiveInt

from benchmarks.build import replicate
from benchmarks.clips_input import FRAMES, SIZE_PX, build, with_sound
from benchmarks.export_items import ITEMS, items_per_s
from benchmarks.export_limit import Work, measure_limit
from benchmarks.report import ROOT, CorpusOptions, Report, benchmark, cores, corpus
from motionshards.dataset.index import Dataset, read_members
from motionshards.schemas.layout import SPLITS, VIDEO, tar_path

_SMALLER_PX, _ALIGNED_PX = 128, 256
_ALL = tuple(word for split in SPLITS for word in ("--split", split))
_GOAL, _ITEM_GOALS = 0.8, {"png": 1.0, "mimread": 10.0}
# Shorter exports are not timed: a format that only copies finishes before its workers have started.
_MIN_S = 0.02


@dataclass(frozen=True, slots=True)
class Row:
    """An export format. options: those of the command; kind: that of its limit; copies: no goal, as the limit only copies"""

    name: str
    options: tuple[str, ...]
    kind: str
    size_px: int = SIZE_PX

    @property
    def copies(self) -> bool:
        return self.kind == "copy"


ROWS = (
    Row("frames", ("--format", "frames"), "png"),
    Row("fomm, png", ("--format", "fomm", "--frames", "png"), "png"),
    Row(f"fomm, {_SMALLER_PX} px", ("--format", "fomm", "--size", str(_SMALLER_PX)), "mp4", _SMALLER_PX),
    Row("liveportrait", ("--format", "liveportrait", "--frames", "jpg"), "jpg"),
    Row("latentsync", ("--format", "latentsync", "--size", str(_ALIGNED_PX)), "rgb", _ALIGNED_PX),
    Row("fomm", ("--format", "fomm"), "copy"),
    Row("parquet", ("--format", "parquet"), "copy"),
)


@dataclass(frozen=True, kw_only=True)
class ExportBenchmark(CorpusOptions):
    """Options of the benchmark."""

    clips: PositiveInt = 19
    """Maximum number of different clips."""
    copies: PositiveInt = 8
    """Copies of the clips."""
    rounds: PositiveInt = 3
    """Rounds of each side."""
    seconds: PositiveFloat = 3.0
    """Length of a round of reading items, in seconds."""
    only: tuple[Literal["export", "items"], ...] = ("export", "items")
    """Only these parts."""


@benchmark("export")
def main(options: ExportBenchmark) -> None:
    """Compare exports with decoding and encoding alone, and FramesDataset with the original loaders."""
    report = Report("benchmarks/export.py: exports, and the drop-in dataset for the original repositories", options)
    figures: dict[str, Any] = {}
    with options.work_dir() as work:
        source, name = corpus(options.input, work)
        videos = replicate(with_sound(source, work / "sound", options.clips, encoded=True), work / "videos", options.copies)
        settings = ("--store", "video", "--size", str(SIZE_PX), "--landmarks-every", "1")
        data = build(videos, work / "data", *settings, landmarks="dlib")
        report.note(f"Input: {name} with generated sound as clips of {FRAMES} frames of {SIZE_PX} px, {options.copies} copies.")
        if "export" in options.only:
            figures |= _compare_exports(report, data, options.rounds, work)
        if "items" in options.only:
            figures |= _compare_items(report, data, options, work)
    report.finish(figures)


def _compare_exports(report: Report, data: Path, rounds: int, work: Path) -> dict[str, Any]:
    """Clips per second of each format, of its limit, and their ratio."""
    mp4s = stored_mp4s(data)
    aligned = _aligned_mp4s(data, work)  # their faces are larger and softer, so they encode faster
    found = {row: [_round(row, data, aligned if row.kind == "rgb" else mp4s, work) for _ in range(rounds)] for row in ROWS}
    medians = {row: [statistics.median(column) for column in zip(*each, strict=True)] for row, each in found.items()}
    report.table(
        f"Clips per second, {cores()} processes",
        ("format", "whole command", "without startup", "limit", "share of the limit", "by CPU time", "goal"),
        [
            (row.name, whole, rate, limit, rate / limit, limit_cpu_s / cpu_s, "" if row.copies else _GOAL)
            for row, (whole, rate, cpu_s, limit, limit_cpu_s) in medians.items()
        ],
    )
    report.note(
        f"{len(mp4s)} clips, medians of {rounds} rounds. Startup is subtracted by also exporting half of the clips. The limit "
        "decodes, encodes and writes files with the same libraries, or only writes files (the last two rows)."
    )
    shares: dict[str, float] = {}
    by_cpu: dict[str, float] = {}
    for row, (_, rate, cpu_s, limit, limit_cpu_s) in medians.items():
        if not row.copies:
            name = row.name.replace(", ", "_").replace(" ", "_")
            shares[f"share_{name}"], by_cpu[f"share_{name}_by_cpu"] = rate / limit, limit_cpu_s / cpu_s
    return {**shares, **by_cpu, "share_goal": _GOAL, "share_goal_met": min(shares.values()) >= _GOAL}


def _round(row: Row, data: Path, mp4s: list[bytes], work: Path) -> tuple[float, float, float, float, float]:
    """Clips per second of the whole command; without startup, clips per second and CPU seconds per clip; both of the limit."""
    half_s, half_cpu_s, half = _export(row, data, work, "--limit", str(len(mp4s) // 2))
    seconds, cpu_s, clips = _export(row, data, work)
    with TemporaryDirectory(dir=work) as files:
        limit = measure_limit(mp4s, Work(row.kind, row.size_px, Path(files)), cores())
    others = clips - half
    rate, cpu_s = others / max(seconds - half_s, _MIN_S), max(cpu_s - half_cpu_s, _MIN_S) / others
    return clips / seconds, rate, cpu_s, *limit


def _export(row: Row, data: Path, work: Path, *options: str) -> tuple[float, float, int]:
    """Export all splits; returns seconds, CPU seconds and the number of clips."""
    output = work / "export"
    command = [sys.executable, "-m", "dataset.export", str(data), "--output", str(output), *row.options, *_ALL, *options]
    start, before = time.monotonic(), _children_cpu_s()
    done = subprocess.run([*command, "--quiet", "--json"], check=True, cwd=ROOT, stdout=subprocess.PIPE)
    seconds, cpu_s = time.monotonic() - start, _children_cpu_s() - before
    shutil.rmtree(output)
    return seconds, cpu_s, json.loads(done.stdout)["written"]


def _aligned_mp4s(data: Path, work: Path) -> list[bytes]:
    """The videos of an export with `--format latentsync`."""
    output = work / "aligned"
    command = [sys.executable, "-m", "dataset.export", str(data), "--output", str(output), "--format", "latentsync"]
    command += ["--size", str(_ALIGNED_PX), "--quiet", *_ALL]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return [path.read_bytes() for path in sorted(output.glob("*.mp4"))]


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def stored_mp4s(data: Path) -> list[bytes]:
    """The stored videos of all clips."""
    mp4s: list[bytes] = []
    for row in Dataset.open(data).index(["split", "shard", "members"]).to_pylist():
        with tar_path(data, row["split"], row["shard"]).open("rb") as stream:
            mp4s += read_members(stream, [one for one in row["members"] if one["suffix"] == VIDEO]).values()
    return mp4s


def _compare_items(report: Report, data: Path, options: ExportBenchmark, work: Path) -> dict[str, Any]:
    """Items per second of FramesDataset, and of loaders that read whole mp4 files or two images of a folder."""
    for kind in ("png", "mp4"):
        command = [sys.executable, "-m", "dataset.export", str(data), "--output", str(work / kind), "--format", "fomm"]
        subprocess.run([*command, "--frames", kind, "--quiet"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    roots = {"motionshards": data, "png": work / "png", "mimread": work / "mp4"}
    rounds = [{side: items_per_s(side, roots[side], options.seconds) for side in ITEMS} for _ in range(options.rounds)]
    rates = {side: statistics.median(each[side] for each in rounds) for side in ITEMS}
    report.table(
        f"Items of two frames per second, DataLoader with {cores()} workers",
        ("side", "items/s", "speedup of motionshards", "goal"),
        [(ITEMS[side].name, rate, rates["motionshards"] / rate, _ITEM_GOALS.get(side, "")) for side, rate in rates.items()],
    )
    figures: dict[str, Any] = {}
    for side, goal in _ITEM_GOALS.items():
        times = rates["motionshards"] / rates[side]
        figures |= {f"items_times_{side}": times, f"items_times_{side}_goal": goal, f"items_times_{side}_goal_met": times >= goal}
    return figures


if __name__ == "__main__":
    sys.exit(main())
