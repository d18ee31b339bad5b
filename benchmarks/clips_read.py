"""Sequences of frames from shards, compared with the decode limit, with libraries that read mp4 files, and with stills."""

import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from benchmarks.loader_run import Order, run_side
from benchmarks.report import Report

_FRAMES = 16


@dataclass(frozen=True, slots=True)
class Side:
    """A row of the table. reads: the field of `Inputs` that it reads."""

    name: str
    run: str
    reads: str = "mp4"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The same clips in four forms. video, stills: datasets with mp4, and with a JPEG of every frame; originals, mp4: folders."""

    video: Path
    stills: Path
    originals: Path
    mp4: Path


@dataclass(frozen=True, slots=True)
class Setting:
    """Batch size, rounds and their length, number of cores, and the interpreter of the peers' environment."""

    batch: int
    rounds: int
    seconds: float
    cores: int
    python: Path


LIMIT = Side("limit: packets in memory, decoded and converted", "clips_ours:limit")
MOTIONSHARDS = Side("motionshards, ClipStream over shards", "clips_ours:frames", "video")
SOUND = Side("motionshards, with sound", "clips_ours:frames_and_sound", "video")
STILLS = Side("motionshards, JPEG stills of every frame", "clips_ours:frames", "stills")
_PEERS = ("PyAV", "decord", "torchcodec", "OpenCV")
PEERS = tuple(Side(f"{name}, the same mp4 as files", f"clips_peers:{name.lower()}") for name in _PEERS)
LONG = tuple(Side(f"{name}, the originals", f"clips_peers:{name.lower()}", "originals") for name in _PEERS)
LONG_SOUND = Side("torchcodec, the originals with sound", "clips_peers:torchcodec_with_sound", "originals")
SIDES = (LIMIT, MOTIONSHARDS, SOUND, STILLS, *PEERS, *LONG, LONG_SOUND)
# Name of a ratio, its numerator, the sides of which the fastest is the denominator, and the goal.
GOALS = (
    ("share_of_decode_limit", MOTIONSHARDS, (LIMIT,), 0.85),
    ("times_best_peer", MOTIONSHARDS, PEERS, 1.0),
    ("times_best_peer_on_originals", MOTIONSHARDS, LONG, 2.0),
    ("times_torchcodec_on_originals_with_sound", SOUND, (LONG_SOUND,), 2.0),
    ("times_stills", MOTIONSHARDS, (STILLS,), None),
)
Figures = dict[str, float]


def compare_reading(report: Report, inputs: Inputs, setting: Setting, work: Path) -> dict[str, Any]:
    """Measure all sides in interleaved rounds; returns ratios of the medians."""
    environment = {"LD_LIBRARY_PATH": str(link_ffmpeg(work / "ffmpeg"))}
    rounds: dict[Side, list[Figures]] = {side: [] for side in SIDES}
    missing: dict[str, str] = {}
    for _ in range(setting.rounds):
        for side in SIDES:
            if side.name not in missing:
                figures = run_side(_order(side, inputs, setting), _python(side, setting), **environment)
                missing |= {side.name: figures["missing"]} if "missing" in figures else {}
                rounds[side] += [] if "missing" in figures else [figures]
    found = {side: _median(each) for side, each in rounds.items() if each}
    _table(report, found, setting, missing)
    return _ratios(report, found)


def link_ffmpeg(folder: Path) -> Path:
    """Link PyAV's FFmpeg libraries under the names that torchcodec looks for, so that both decode with the same ones."""
    folder.mkdir()
    for path in (Path(av.__file__).parent.parent / "av.libs").iterdir():
        (folder / path.name).symlink_to(path)
        name, _, version = path.name.partition(".so.")
        if name.startswith(("libav", "libsw")):
            (folder / f"{name.partition('-')[0]}.so.{version.partition('.')[0]}").symlink_to(path)
    return folder


def write_mp4_files(video: Path, folder: Path) -> Path:
    """Write the mp4 members of a dataset as files."""
    folder.mkdir()
    run_side(Order(side="benchmarks.clips_ours:mp4_files", data=str(video), form=str(folder), cores=1), sys.executable)
    return folder


def _order(side: Side, inputs: Inputs, setting: Setting) -> Order:
    return Order(
        side=f"benchmarks.{side.run}",
        data=str(inputs.stills if side.reads == "stills" else inputs.video),
        form=str(inputs.originals if side.reads == "originals" else inputs.mp4),
        cores=setting.cores,
        batch=setting.batch,
        frames=_FRAMES,
        batches=sys.maxsize,
        seconds=setting.seconds,
    )


def _python(side: Side, setting: Setting) -> str:
    return str(setting.python) if "clips_peers" in side.run and os.access(setting.python, os.X_OK) else sys.executable


def _median(rounds: list[Figures]) -> Figures:
    rates = [figures["clips_per_s"] for figures in rounds]
    return {
        "rate": statistics.median(rates),
        "least": min(rates),
        "most": max(rates),
        "cpu_ms": statistics.median(figures["cpu_ms"] for figures in rounds),
    }


def _table(report: Report, found: dict[Side, Figures], setting: Setting, missing: dict[str, str]) -> None:
    motionshards = found[MOTIONSHARDS]
    report.table(
        f"(c) Sequences of {_FRAMES} frames",
        ("side", "sequences/s", "min–max", "CPU ms per frame", "speedup of motionshards", "by CPU time"),
        [
            (
                side.name,
                one["rate"],
                f"{one['least']:.0f}–{one['most']:.0f}",
                one["cpu_ms"] / _FRAMES,
                motionshards["rate"] / one["rate"],
                one["cpu_ms"] / motionshards["cpu_ms"],
            )
            for side, one in found.items()
        ],
    )
    report.note(
        f"Batches of {setting.batch}; one single-threaded process or worker per core, {setting.cores} cores; medians of "
        f"{setting.rounds} interleaved rounds of {setting.seconds:g} s. "
        "The limit, PyAV and torchcodec decode with the same FFmpeg libraries, decord and OpenCV with their own."
    )
    for side, why in missing.items():
        report.note(f"Skipped {side}: {why}")


def _ratios(report: Report, found: dict[Side, Figures]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    rows: list[tuple[Any, ...]] = []
    for name, numerator, others, goal in GOALS:
        if numerator in found and (present := [side for side in others if side in found]):
            best = max(present, key=lambda side: found[side]["rate"])
            times, by_cpu = found[numerator]["rate"] / found[best]["rate"], found[best]["cpu_ms"] / found[numerator]["cpu_ms"]
            rows.append((name.replace("_", " "), best.name, times, by_cpu, "" if goal is None else goal))
            figures |= {name: times, f"{name}_by_cpu": by_cpu}
            figures |= {} if goal is None else {f"{name}_goal": goal, f"{name}_goal_met": times >= goal}
    report.table("Goals of reading", ("ratio of sequences/s", "compared with", "measured", "by CPU time", "goal"), rows)
    return figures
