"""Scaling of a build: more clips on this machine, and the units of a corpus of VoxCeleb2's size.

    python -m benchmarks.scale [--runner local dask] [--factors 1 4 16] [--clips 1100000] [--units 5000]

(a) Whole builds of growing numbers of links to the same short videos, without landmarks, to maximize the share of overhead.
(b) A synthetic corpus is planned and markers are written for all its units, so that building a unit returns immediately: this
measures the graph, its scheduling and the driver. (c) The dataset of these markers is finalized. (d) Rates for the estimates in
docs/costs.md: builds of videos of VoxCeleb2's mean length and size, with K = 8 and 16, with and without dlib, and of video with
sound.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cyclopts import Parameter
from cyclopts.types import PositiveInt
from cyclopts.validators import Number

from benchmarks import watch
from benchmarks.build import Job, replicate, run_job
from benchmarks.clips_input import with_sound
from benchmarks.plan import plan_listing, synthetic_clips
from benchmarks.report import ROOT, CorpusOptions, Report, benchmark, cores, corpus, peak_mib
from motionshards.pipeline.finalize import finalize
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.planning.plan import plan_files, units
from motionshards.pipeline.planning.provenance import provenance
from motionshards.pipeline.runners import dask
from motionshards.pipeline.runners.choose import WORKERS_TIMEOUT_S
from motionshards.pipeline.runners.dask_check import address_of
from motionshards.pipeline.runners.graph import run_graph
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.voxceleb2 import list_clips
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import INDEX, marker_path, uri_to_path
from motionshards.schemas.manifest import Manifest, ShardEntry
from motionshards.schemas.marker import read_marker, write_marker
from motionshards.schemas.records import ShardUnit
from motionshards.schemas.tables import MARKER
from motionshards.transforms.extract.decoder.client import decoder_versions
from motionshards.transforms.extract.ffmpeg import ffmpeg_path

_WATCH_S = 0.5
_CLIPS_A_UNIT = 19
_SHORT = ((), ("-t", "1", "-an", "-vf", "scale=96:96", "-c:v", "libx264"))
# VoxCeleb2 is 2,442 hours and 276 GB in 1,128,246 clips: a mean of 7.79 s and 245 KB.
_LIKE_VOXCELEB2 = (("-stream_loop", "-1"), ("-t", "7.79", "-c:v", "libx264", "-b:v", "190k", "-c:a", "aac", "-b:a", "64k"))
# Landmarks, stills, and what is stored.
_RATES = (*product(("dlib", "none"), (9, 17), ("stills",)), ("dlib", 9, "video"), ("dlib", 9, "both"))

_ALONE = ("seconds", "cpu_s", "peak_mib", "mb")
_SCHEDULED = ("graph_s", "seconds", "cpu_s", "before_mib", "peak_mib", "worker_mib")


@dataclass(frozen=True, kw_only=True)
class ScaleOptions(CorpusOptions):
    """Options of the benchmark."""

    runner: Annotated[tuple[Literal["local", "dask"], ...], Parameter(consume_multiple=1)] = ("local", "dask")
    """Runners to measure."""
    factors: Annotated[tuple[int, ...], Parameter(consume_multiple=1, validator=Number(gte=1))] = (1, 4, 16)
    """Multiples of the input to build, ascending."""
    copies: PositiveInt = 8
    """Copies of the videos at factor 1."""
    clips: PositiveInt = 1_100_000
    """Clips of the synthetic corpus."""
    units: PositiveInt = 5_000
    """Its approximate number of units."""
    workers: PositiveInt = field(default_factory=cores)
    """Processes; by default one per core."""
    measure: Annotated[str | None, Parameter(show=False)] = None
    """One measurement as JSON, which the benchmark runs in a new process."""


@benchmark("scale")
def main(options: ScaleOptions) -> None:
    """Measure how a build scales with clips, and with the units of a corpus of VoxCeleb2's size."""
    if options.measure:
        order = json.loads(options.measure)
        print(json.dumps(_MEASURES[order["what"]](order)))
        return
    report = Report("benchmarks/scale.py: more clips, and the units of a whole corpus", options)
    with options.work_dir() as work:
        source, name = corpus(options.input, work)
        report.note(f"Input: videos made from {name}; {options.workers} workers. Memory is the peak of one process.")
        figures = _report_growth(report, source, work, options)
        rates = _report_rates(report, source, work, options)
        figures |= _report_units(report, work, options)
    report.finish(figures | rates)


def _report_growth(report: Report, source: Path, work: Path, options: ScaleOptions) -> dict[str, Any]:
    """(a) Measure builds of growing input on each runner."""
    short = transcode(source, work / "short", *_SHORT)
    roots = {factor: replicate(short, work / f"x{factor}", options.copies * factor) for factor in options.factors}
    rows: list[list[Any]] = []
    figures: dict[str, Any] = {}
    for runner in options.runner:
        more = ("--landmarks", "none", "--clips-per-shard", str(_CLIPS_A_UNIT), "--runner", runner)
        grown = [
            _run_with_single(root, work / f"{runner}-{factor}", 64, options.workers, *more) for factor, root in roots.items()
        ]
        rows += [[runner, one.job.clips, one.job.clips // _CLIPS_A_UNIT, *one.cells()] for one in grown]
        least, most = grown[0], grown[-1]
        figures |= {
            f"{runner}_{name}_x{options.factors[-1]}_over_x{options.factors[0]}": getattr(most, name) / getattr(least, name)
            for name in ("wall_s_a_clip", "cpu_s_a_clip", "driver_mib", "worker_mib")
        }
    names = "runner, clips, units, s, ms per clip, CPU ms per clip, others, driver MiB, Beam MiB, worker MiB"
    report.table("(a) Whole builds of short clips, 64 px, no landmarks", names.split(", "), rows)
    report.note(
        "Times per clip exclude those of the same command with `--limit 1`. CPU time is that of all processes, `others` the "
        "share of the cores used by others. Dask's scheduler runs in the driver, Beam's local runner in a separate process."
    )
    return figures


@dataclass(frozen=True, slots=True)
class _Grown:
    """A build, and the same command for one clip."""

    job: Job
    one: Job

    @property
    def wall_s_a_clip(self) -> float:
        return (self.job.seconds - self.one.seconds) / (self.job.clips - 1)

    @property
    def cpu_s_a_clip(self) -> float:
        return (self.job.watch.cpu_s - self.one.watch.cpu_s) / (self.job.clips - 1)

    @property
    def driver_mib(self) -> float:
        """Peak memory of the command, plus that of Beam's process if separate."""
        return self.job.watch.peaks_mib["command"] + self.job.watch.peaks_mib["Beam driver"]

    @property
    def worker_mib(self) -> float:
        return self.job.watch.peaks_mib["worker"]

    def cells(self) -> list[Any]:
        """The cells of its row."""
        peaks, seconds = self.job.watch.peaks_mib, self.job.seconds
        others = f"{self.job.watch.others_s / seconds / cores():.0%}"
        memory = peaks["command"], peaks["Beam driver"] or "—", self.worker_mib
        return [seconds, self.wall_s_a_clip * 1e3, self.cpu_s_a_clip * 1e3, others, *memory]


def _run_with_single(root: Path, out: Path, size_px: int, workers: int, *more: str) -> _Grown:
    one = run_job(root, out.with_name(f"{out.name}-one"), size_px, workers, _WATCH_S, *more, "--limit", "1")
    return _Grown(run_job(root, out, size_px, workers, _WATCH_S, *more), one)


def _report_rates(report: Report, source: Path, work: Path, options: ScaleOptions) -> dict[str, Any]:
    """(d) Measure clips of VoxCeleb2's length and size. The datasets are kept for (b), which uses their rows."""
    like = transcode(with_sound(source, work / "sound", sys.maxsize, encoded=False), work / "like", *_LIKE_VOXCELEB2)
    sizes_kb = [path.stat().st_size / 1e3 for path in like.rglob("*.mp4")]
    root = replicate(like, work / "likes", options.copies)
    rows: list[list[Any]] = []
    figures: dict[str, Any] = {"input_kb_a_clip": sum(sizes_kb) / len(sizes_kb)}
    for model, frames, store in _RATES:
        name = f"{model}-{frames}" if store == "stills" else store
        settings = ("--landmarks", model, "--frames", str(frames), "--store", store)
        grown = _run_with_single(root, work / name, 256, options.workers, *settings)
        kept = grown.job.ledger["kept"]
        kb = grown.job.ledger["bytes"] / kept / 1e3, (work / name / INDEX).stat().st_size / kept / 1e3
        rows.append([store, model, frames, grown.job.clips, kept, grown.wall_s_a_clip * 1e3, grown.cpu_s_a_clip * 1e3, *kb])
        figure = name.replace("-", "_")
        figures |= {f"{figure}_cpu_s_a_clip": grown.cpu_s_a_clip, f"{figure}_kb_a_clip": kb[0]}
    names = "stored, landmarks, frames, clips, kept, ms per clip, CPU ms per clip, KB per clip in shards, in the index"
    report.table(f"(d) Clips of 7.79 s and {figures['input_kb_a_clip']:.0f} KB with sound, 256 px", names.split(", "), rows)
    return figures


def _report_units(report: Report, work: Path, options: ScaleOptions) -> dict[str, Any]:
    """(b) and (c): plan, schedule and finalize a corpus, each in a separate process."""
    order = {"out": str(work / "whole"), "rows": str(work / "dlib-9"), "clips": options.clips, "workers": options.workers}
    order["clips_per_shard"] = round(options.clips / options.units)
    planned = _fresh("plan", order)
    rows, figures = [], {"units": planned["units"], "unit_plan_s": planned["seconds"]}
    for runner in options.runner:
        for part in (planned["units"] // 4, planned["units"]):
            found = _fresh(runner, {**order, "first": part})
            rows.append([runner, part, *(found[name] or None for name in _SCHEDULED)])  # workers may end unseen
            figures |= {f"{runner}_{part}_units_s": found["seconds"], f"{runner}_{part}_units_driver_mib": found["peak_mib"]}
    columns = ("runner", "units", "graph s", "all done s", "driver CPU s", "driver MiB before", "driver MiB", "worker MiB")
    report.table(f"(b) Units that are already committed, of {options.clips:,} clips in {planned['units']:,}", columns, rows)
    report.note(
        "`graph s`: from the list of units until the cluster has the tasks. The local runner's time includes the "
        "start of its workers; Dask's cluster is started before."
    )
    done = _fresh("finalize", order)
    rows = [[name, *(one[key] for key in _ALONE)] for name, one in (("plan", planned), ("finalize", done))]
    report.table("(c) Before and after the units", ("step", "s", "CPU s", "peak MiB", "MB written or read"), rows)
    report.note("The plan is written, the markers are read; their rows are those of (d) with nine frames, under planned names.")
    return {**figures, "finalize_s": done["seconds"], "finalize_peak_mib": done["peak_mib"]}


def _fresh(what: str, order: dict[str, Any]) -> dict[str, Any]:
    """Run one of `_MEASURES` in a new process."""
    command = [sys.executable, "-m", "benchmarks.scale", "--measure", json.dumps({**order, "what": what})]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"{what} ended with status {done.returncode}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(step: Callable[[], Any]) -> dict[str, float]:
    """Seconds of a step, CPU seconds and peak memory of this process, and the peak memory of its workers."""
    start, cpu_start = time.monotonic(), time.process_time()
    with watch.Watch(os.getpid(), _WATCH_S) as seen:
        step()
    spent = {"seconds": time.monotonic() - start, "cpu_s": time.process_time() - cpu_start}
    return {**spent, "peak_mib": peak_mib(), "worker_mib": seen.peaks_mib["worker"]}


def _plan(order: dict[str, Any]) -> dict[str, Any]:
    """Plan a synthetic corpus, then commit all its units; only planning is measured."""
    out, config = Path(order["out"]), BuildConfig(source="voxceleb2", clips_per_shard=order["clips_per_shard"])
    found = _measured(lambda: plan_listing(out, synthetic_clips(order["clips"]), config))
    Manifest(config, provenance(config), "").write(out)
    _commit(out, Path(order["rows"]))
    return {**found, "units": len(units(out)), "mb": sum(path.stat().st_size for path in plan_files(out)) / 1e6}


def _commit(out: Path, built: Path) -> None:
    """Write a marker for each unit. Keys and identities come from the plan, all other columns from the dataset `built`."""
    found = pa.concat_tables([read_marker(path)[1] for path in sorted(built.glob("t*/*.parquet"))])
    found = found.filter(found["kept"])
    (plan,) = [pq.read_table(path) for path in plan_files(out)]
    for unit in units(out):
        marker = marker_path(out, unit.split, unit.name)
        marker.parent.mkdir(exist_ok=True)
        who = plan.slice(unit.start, len(unit))
        rows = found.take(pa.array(np.resize(np.arange(len(found)), len(unit))))
        columns = {name: who[name] if name in who.column_names else rows[name] for name in MARKER.names}
        columns["shard"] = pa.array([unit.name] * len(unit))
        write_marker(marker, ShardEntry(unit.name, unit.split, len(unit), 0, 1, "0" * 64), pa.table(columns, MARKER))


def _schedule_on_dask(order: dict[str, Any]) -> dict[str, Any]:
    """Schedule like `build_on_dask`, which would skip committed units, including its checks of the markers."""
    job, found = _job_and_units(order)
    clock = _FirstUpdate()
    cluster = dask.Cluster(None, order["workers"], WORKERS_TIMEOUT_S)
    with dask._connected(cluster) as client, dask._with_journal(job) as noted:
        client.wait_for_workers(order["workers"])
        where = f"--dask_client_address={address_of(client)}"
        beam = ["--runner=apache_beam.runners.dask.dask_runner.DaskRunner", where, "--dask_partition_size=1"]
        before, start = peak_mib(), time.monotonic()
        spent = _measured(lambda: dask._run(found, found, noted, beam, clock, cluster.timeout_s))
    return {**spent, "graph_s": clock.time_s - start, "before_mib": before}


def _schedule_locally(order: dict[str, Any]) -> dict[str, Any]:
    """Schedule like `pipeline.runners.local_child`."""
    job, found = _job_and_units(order)
    beam = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", f"--direct_num_workers={order['workers']}"]
    return {"before_mib": peak_mib(), "graph_s": "—", **_measured(lambda: run_graph(found, job, beam))}


def _job_and_units(order: dict[str, Any]) -> tuple[BuildJob, list[ShardUnit]]:
    out = Path(order["out"])
    return BuildJob(out, out, Manifest.read(out).config, decoder_versions()["ffmpeg"]), units(out)[: order["first"]]


def _finalize(order: dict[str, Any]) -> dict[str, Any]:
    out = Path(order["out"])
    read = sum(path.stat().st_size for path in out.glob("t*/*.parquet"))
    return {**_measured(lambda: finalize(out, Manifest.read(out))), "mb": read / 1e6}


class _FirstUpdate:
    """A progress that records the time of its first update: the tasks have been submitted by then."""

    time_s = 0.0

    def update(self, clips: int) -> None:
        """Called when `clips` are done."""
        self.time_s = self.time_s or time.monotonic()


def transcode(source: Path, target: Path, reading: Sequence[str], writing: Sequence[str]) -> Path:
    """Re-encode the clips of `source` by ffmpeg with these input and output options into a tree with the same names."""
    for spec in list_clips(Listing(DirectoryTree(source))):
        path = uri_to_path(spec.spans[0].uri)
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        files = ["-i", str(source / path), *writing, str(target / path)]
        subprocess.run([ffmpeg_path(), "-v", "error", "-nostdin", *reading, *files], check=True)
    return target


_MEASURES = {"plan": _plan, "dask": _schedule_on_dask, "local": _schedule_locally, "finalize": _finalize}

if __name__ == "__main__":
    sys.exit(main())
