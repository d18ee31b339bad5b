"""A build of the VoxCeleb2 corpus, compared with the sum of its parts and with a plain rewrite.

    python -m benchmarks.build [--input DIR] [--copies 60] [--size 224] [--workers N]

The corpus is replicated under other identity names (hard links), so that each copy is a different clip with different sampled
frames. `parts.py` and `plain.py` describe the sides, `watch.py` how memory is measured.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from cyclopts.types import PositiveInt

from benchmarks.parts import STEPS, cpu_of_parts, sample
from benchmarks.report import ROOT, CorpusOptions, Report, benchmark, cores, corpus
from benchmarks.watch import Watch
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.voxceleb2 import list_clips
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import uri_to_path
from motionshards.transforms.extract.ffmpeg import ffmpeg_path

# Goals without startup, except that of the startup itself.
_SHARE_GOAL, _TIMES_GOAL, _TIMES_GOAL_NO_UPSAMPLING = 0.95, 5.0, 1.7
_STARTUP_GOAL_S, _CPU_GOAL_S, _WORKER_GOAL_MIB = 2.5, 0.1, 1024.0
_WATCH_TIMED_S, _WATCH_CLOSE_S = 0.5, 0.05


@dataclass(frozen=True, kw_only=True)
class BuildBenchOptions(CorpusOptions):
    """Options of the benchmark."""

    copies: PositiveInt = 60
    """Copies of the input; enough to outweigh the startup."""
    size: PositiveInt = 224
    """Side of the stored frames in pixels."""
    workers: PositiveInt = field(default_factory=cores)
    """Processes; by default one per core."""
    sample: PositiveInt = 38
    """Maximum number of different clips for the parts and the plain rewrite."""
    large_clips: PositiveInt = 8
    """1080p videos to render and build."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a command: its last line, wall time from start to exit, and what `Watch` measured."""

    ledger: dict[str, Any]
    seconds: float
    watch: Watch

    @property
    def clips(self) -> int:
        """Clips planned, kept or not."""
        return int(self.ledger["planned"])


@benchmark("build")
def main(options: BuildBenchOptions) -> None:
    """Compare a build with the sum of its parts and with a plain rewrite, both measured before and after it."""
    report = Report("benchmarks/build.py: a build compared with its parts and a plain rewrite", options)
    with options.work_dir() as work:
        source, name = corpus(options.input, work)
        root = replicate(source, work / "input", options.copies)
        before = _other_sides(source, work, options)
        one = run_job(root, work / "one", options.size, options.workers, _WATCH_TIMED_S, "--limit", "1")
        job = run_job(root, work / "all", options.size, options.workers, _WATCH_TIMED_S)
        after = _other_sides(source, work, options)
        sides = {side: {key: (before[side][key] + after[side][key]) / 2 for key in before[side]} for side in before}
        drift = sum(after["alone"].values()) / sum(before["alone"].values()) - 1
        report.note(
            f"Input: {name}, {options.copies} copies: {job.clips} clips; {options.workers} workers, {options.size} px, dlib."
        )
        report.note(f"The other sides are means of before and after the build; after it, the parts took {drift:+.0%} CPU time.")
        figures = _compare_with_parts(report, one, job, sides["alone"], sides["busy"])
        figures |= _compare_with_plain(report, one, job, {upsample: sides[f"plain {upsample}"] for upsample in (1, 0)})
        figures |= _memory(report, source, job, work, options)
    report.finish(figures | {"drift": drift})


def _other_sides(source: Path, work: Path, options: BuildBenchOptions) -> dict[str, dict[str, float]]:
    """Measure the parts, alone and on every core, and the plain rewrite with and without upsampling; per clip."""
    config = BuildConfig(source="voxceleb2", size=options.size, landmarks="dlib")
    return {
        "alone": cpu_of_parts(source, config, options.sample, 1),
        "busy": cpu_of_parts(source, config, options.sample, cores()),
        **{f"plain {upsample}": _run_plain(source, work / "plain", upsample, config, options.sample) for upsample in (1, 0)},
    }


def _compare_with_parts(report: Report, one: Job, job: Job, alone: dict[str, float], busy: dict[str, float]) -> dict[str, Any]:
    """(a) The CPU time of the parts, and the build compared with that time spread over all cores."""
    total, total_busy = sum(alone.values()), sum(busy.values())
    report.table(
        "CPU time per clip by step",
        ("step", "ms, one process alone", "share", "ms, one process per core"),
        [
            *((step, alone[step] * 1e3, f"{alone[step] / total:.0%}", busy[step] * 1e3) for step in STEPS),
            ("sum", total * 1e3, "100%", total_busy * 1e3),
        ],
    )
    with_start, without = job.clips / job.seconds, (job.clips - one.clips) / (job.seconds - one.seconds)
    ideal, ideal_busy = cores() / total, cores() / total_busy
    on_all = with_start * cores() / (cores() - job.watch.others_s / job.seconds)
    report.table(
        f"(a) The build compared with the sum of its parts on {cores()} cores",
        ("", "clips/s", "relative to the parts alone", "relative to the parts, all cores busy"),
        [
            ("parts alone: cores / sum", ideal, 1.0, ideal / ideal_busy),
            ("parts, all cores busy: cores / sum", ideal_busy, ideal_busy / ideal, 1.0),
            ("whole build with startup", with_start, with_start / ideal, with_start / ideal_busy),
            ("build without startup", without, without / ideal, without / ideal_busy),
            ("whole build, corrected for cores used by others *", on_all, on_all / ideal, on_all / ideal_busy),
        ],
    )
    report.note(
        f"Goals: {_SHARE_GOAL} of the parts alone without startup, and a startup of {_STARTUP_GOAL_S} s. "
        f"{_account(one, job, total)}"
    )
    return {
        "clips_per_s": with_start,
        "share_of_parts": with_start / ideal,
        "share_of_parts_without_startup": without / ideal,
        "share_of_busy_parts": with_start / ideal_busy,
        "share_of_parts_on_cores_left_by_others": on_all / ideal,
        "startup_s": one.seconds,
        "job_cpu_over_parts": job.watch.cpu_s / job.clips / total,
        "cores_taken_by_others": job.watch.others_s / job.seconds,
        "share_goal_met": without / ideal >= _SHARE_GOAL,
        "startup_goal_met": one.seconds <= _STARTUP_GOAL_S,
    }


def _account(one: Job, job: Job, total: float) -> str:
    """Explain a low share: work besides the parts, idle cores, or cores used by other processes."""
    slots = cores() * job.seconds
    return (
        f"Startup is the wall time of the same command on one clip: {one.seconds:.1f} s; whole build: {job.seconds:.1f} s. "
        f"Share of the cores' time during the build: expected of the parts {job.clips * total / slots:.0%}; used by the build "
        f"{job.watch.cpu_s / slots:.0%} (all its processes), by others on this machine {job.watch.others_s / slots:.0%}. "
        "* The measured rate divided by the share of the cores that others did not use: an estimate for a busy machine."
    )


def _compare_with_plain(report: Report, one: Job, job: Job, plain: dict[int, dict[str, float]]) -> dict[str, Any]:
    """(b) The build compared with a plain script."""
    build = {
        "seconds": job.seconds / job.clips,
        "cpu_s": job.watch.cpu_s / job.clips,
        "bytes": job.ledger["bytes"] / job.ledger["kept"],
    }
    sides = {"whole build with startup": build, "plain, detector(img, 1)": plain[1], "plain, detector(img, 0)": plain[0]}
    without_s = (job.seconds - one.seconds) / (job.clips - one.clips)
    report.table(
        "(b) The build compared with a plain rewrite: one process, every frame by OpenCV, dlib, pickle",
        ("", "clips/s", "speedup of the build", "speedup without startup", "CPU ms per clip", "KB per clip on disk"),
        [
            (
                name,
                1 / s["seconds"],
                s["seconds"] / build["seconds"],
                s["seconds"] / without_s,
                s["cpu_s"] * 1e3,
                s["bytes"] / 1e3,
            )
            for name, s in sides.items()
        ],
    )
    report.note(
        f"Goals: {_CPU_GOAL_S * 1e3:g} ms per clip and, without startup, {_TIMES_GOAL:g} times detector(img, 1), as in dlib's "
        f"example, and {_TIMES_GOAL_NO_UPSAMPLING} times detector(img, 0). "
        "The startup of the plain rewrite is not counted."
    )
    upsampled, not_upsampled = (plain[upsample]["seconds"] / without_s for upsample in (1, 0))
    return {
        "times_plain": plain[1]["seconds"] / build["seconds"],
        "times_plain_no_upsampling": plain[0]["seconds"] / build["seconds"],
        "times_plain_without_startup": upsampled,
        "times_plain_no_upsampling_without_startup": not_upsampled,
        "cpu_ms": build["cpu_s"] * 1e3,
        "cpu_goal_met": build["cpu_s"] <= _CPU_GOAL_S,
        "times_plain_by_cpu_time": cores() * plain[1]["cpu_s"] / build["cpu_s"],
        "size_ratio": plain[1]["bytes"] / build["bytes"],
        "times_goal_met": upsampled >= _TIMES_GOAL and not_upsampled >= _TIMES_GOAL_NO_UPSAMPLING,
    }


def _memory(report: Report, source: Path, job: Job, work: Path, options: BuildBenchOptions) -> dict[str, Any]:
    """(c) Peak memory of each kind of process, on the unchanged input and on 1080p."""
    settings = options.size, options.workers, _WATCH_CLOSE_S  # the timed job's interval misses decoders
    close = run_job(source, work / "close", *settings)
    large = run_job(make_1080p(source, work / "1080p", options.large_clips), work / "large", *settings)
    as_it_is = {role: max(job.watch.peaks_mib[role], peak) for role, peak in close.watch.peaks_mib.items() if peak}
    report.table(
        "(c) Peak resident memory of one process, MiB",
        ("process", f"unchanged corpus ({job.clips + close.clips} clips)", f"1920x1080 ({large.ledger['kept']} clips, all kept)"),
        [(role, peak, large.watch.peaks_mib[role]) for role, peak in sorted(as_it_is.items())],
    )
    report.note(f"Goal: less than {_WORKER_GOAL_MIB:g} MiB per worker on either input.")
    assert large.ledger["kept"] == large.clips, large.ledger
    workers = as_it_is["worker"], large.watch.peaks_mib["worker"]
    return {
        "worker_peak_mib": workers[0],
        "worker_peak_mib_1080p": workers[1],
        "decoder_peak_mib": as_it_is["decoder"],
        "decoder_peak_mib_1080p": large.watch.peaks_mib["decoder"],
        "memory_goal_met": max(workers) < _WORKER_GOAL_MIB,
    }


def run_job(root: Path, out: Path, size_px: int | str, workers: int, interval_s: float, *more: str) -> Job:
    """Run `dataset.build` in a new process as a user would, and watch it."""
    command = [
        *(sys.executable, "-m", "dataset.build", "--source", "voxceleb2", "--landmarks", "dlib", "--json", "--quiet"),
        *("--input", str(root), "--output", str(out), "--size", str(size_px), "--workers", str(workers), *more),
    ]
    return watched(command, interval_s)


def watched(command: Sequence[str], interval_s: float, order: str = "", **environment: str) -> Job:
    """Run a command whose last line of output is JSON, and watch it; `order` is its standard input."""
    start = time.monotonic()
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes, cwd=ROOT, env=os.environ | environment)
    with Watch(process.pid, interval_s) as watch:
        output = process.communicate(order)[0]
    seconds = time.monotonic() - start
    if process.returncode:
        raise SystemExit(f"the build ended with status {process.returncode}: {' '.join(command)}")
    return Job(json.loads(output.splitlines()[-1]), seconds, watch)


def _run_plain(source: Path, output: Path, upsample: int, config: BuildConfig, clips: int) -> dict[str, float]:
    """Run the plain rewrite in a new process; returns seconds, CPU seconds and bytes per clip."""
    videos = [str(source / uri_to_path(spec.spans[0].uri)) for spec in sample(source, config, clips)]
    order = {"videos": videos, "frames": config.frames, "size": config.size, "upsample": upsample, "output": str(output)}
    command = [sys.executable, "-m", "benchmarks.plain"]
    done = subprocess.run(command, input=json.dumps(order), stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    shutil.rmtree(output)
    found = json.loads(done.stdout)
    return {name: found[name] / found["clips"] for name in ("seconds", "cpu_s", "bytes")}


def replicate(source: Path, target: Path, copies: int) -> Path:
    """Copy the clips of `source` into a VoxCeleb2 tree, `copies` times under different identities; hard links where possible."""
    for spec in list_clips(Listing(DirectoryTree(source))):
        path = source / uri_to_path(spec.spans[0].uri)
        half = "test" if spec.split == "test" else "dev"
        for copy in range(copies):
            target_path = target / half / "mp4" / f"{spec.identity}-{copy:03d}" / spec.video / path.name
            target_path.parent.mkdir(parents=True, exist_ok=True)
            _link(path, target_path)
    return target


def _link(path: Path, target_path: Path) -> None:
    try:
        os.link(path, target_path)
    except OSError:
        shutil.copyfile(path, target_path)


def make_1080p(source: Path, target: Path, clips: int) -> Path:
    """Enlarge the first seconds of some clips of `source` to 1920x1080, as a VoxCeleb2 tree."""
    for number, spec in enumerate(islice(list_clips(Listing(DirectoryTree(source))), clips)):
        target_path = target / "dev" / "mp4" / f"id{number:05d}" / spec.video / "00001.mp4"
        target_path.parent.mkdir(parents=True)
        command = [ffmpeg_path(), "-v", "error", "-nostdin", "-i", str(source / uri_to_path(spec.spans[0].uri)), "-t", "4", "-an"]
        command += [
            "-vf",
            "scale=1080:1080,pad=1920:1080:-1:-1,setsar=1",
            "-c:v",
            "libx264",
            "-preset",
            "fast",
            "-pix_fmt",
            "yuv420p",
            str(target_path),
        ]
        subprocess.run(command, check=True)
    return target


if __name__ == "__main__":
    sys.exit(main())
