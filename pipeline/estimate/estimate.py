"""Estimate time, disk space and yield of a long build by actually building a random sample of its clips.

Clips are listed and planned as in a build, but in a temporary directory, and the sample is built there by the same runner with
the same number of workers. Nothing is written to the dataset's directory, and everything is deleted at the end, also on errors.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from motionshards.pipeline.build import folder_of, job_of, open_or_create
from motionshards.pipeline.clips.device import gpus
from motionshards.pipeline.estimate import estimator
from motionshards.pipeline.estimate.estimator import F64, I64, Sample
from motionshards.pipeline.estimate.meter import Meter
from motionshards.pipeline.estimate.report import Outcomes, Run, expected_disk, expected_time, expected_yield
from motionshards.pipeline.inputs.input import check_archives, resolved, shown
from motionshards.pipeline.order import BuildOrder
from motionshards.pipeline.plan_input import plan_into
from motionshards.pipeline.planning import plan
from motionshards.pipeline.planning.provenance import provenance
from motionshards.pipeline.runners import choose
from motionshards.pipeline.runners.progress import progress
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.shards.markers import pending
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import DATASET_JSON, PLAN_DIR, marker_path, plan_path
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.marker import read_marker
from motionshards.schemas.output import refuse_foreign_files
from motionshards.schemas.records import ShardUnit
from motionshards.schemas.tables import PLAN, completed, open_parquet

# All shards of the sample are in one directory, regardless of the splits of its clips.
_FOLDER = "train"
_SMALLEST_UNIT = 4
_MIN_STEADY_CLIPS = 5


@dataclass(frozen=True, slots=True)
class Population:
    """The N clips that a build would build now.

    split, cost: split number, int64 [N], and estimated core seconds, float64 [N]
    place: int64 [N], row in the plan file
    file: int64 [N], index of the plan file
    shards: number of shards of these clips
    """

    split: I64
    cost: F64
    place: I64
    file: I64
    shards: int

    def __len__(self) -> int:
        return len(self.cost)


def estimate(order: BuildOrder, config: BuildConfig, count: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Estimate the cost of the remaining build from a sample of `count` clips, as JSON values; see docs/estimate.md.

    Raises:
        ConfigError: as in a build
        BuildFailed: building the sample failed
    """
    made_with = provenance(config, order.weights, order.aus)
    manifest = _manifest(order, config, made_with)
    if _disk_of(order.out) is None and not order.runner.is_local:
        raise ConfigError(f"--estimate on a cluster builds next to --output, but cannot write to {order.out.absolute().parent}")
    with tempfile.TemporaryDirectory(prefix=".motionshards-estimate-", dir=_disk_of(order.out)) as directory:
        start = time.monotonic()
        whole, part = (Path(directory).resolve() / name for name in ("whole", "part"))
        _mirror(order.out, whole)
        manifest = plan_into(replace(order, out=whole, retry=(), bucket=None), config, manifest, log)
        population = _population(whole, order.out)
        planning_s = time.monotonic() - start
        if not len(population):
            return {"clips": 0}
        sample = estimator.draw(population.split, population.cost, count, config.seed)
        log(f"estimate: building {len(sample.rows)} of {len(population)} clips in {directory}")
        check_archives(order.input.root, manifest.archives)
        drawn = _drawn(plan.plan_files(whole), population, sample)
        # The number of a cluster's workers is unknown: units have the minimum size, so that most workers get one.
        shards = order.runner.workers if order.runner.is_local else -(-len(drawn) // _SMALLEST_UNIT)
        units = _write_plan(part, drawn, shards, config.seed)
        manifest.write(part)  # workers of a cluster check that they can read it
        job = job_of(replace(order, out=part, bucket=None), config, made_with)
        run = _measure(units, job, order, population, sample)
        markers = pa.concat_tables([read_marker(_marker(part, unit))[1] for unit in units])
        plan_bytes = sum(path.stat().st_size for path in plan.plan_files(whole) if not path.is_symlink())
        free = shutil.disk_usage(directory).free
    outcomes = Outcomes.of(markers, drawn["key"].to_pylist(), sample)
    return {
        "clips": len(population),
        "sample": len(sample.rows),
        "strata": len(sample.sizes),
        "yield": expected_yield(outcomes, sample),
        "disk": {**expected_disk(outcomes, sample, population.shards, plan_bytes, order.runner.workers), "free": free},
        "time": expected_time(run, planning_s, len(population), population.shards, order.runner, gpus(config.landmarks)),
    }


def _disk_of(out: Path) -> Path | None:
    """Directory to build the sample in: the parent of the output, if writable; None for the system's temporary directory."""
    parent = out.absolute().parent
    return parent if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK) else None


def _manifest(order: BuildOrder, config: BuildConfig, made_with: dict[str, str]) -> Manifest:
    """The manifest of the dataset, or of a new one, without writing it. Raises ConfigError: a build would refuse the output."""
    if (order.out / DATASET_JSON).exists():
        return open_or_create(order, config, made_with)
    if order.out.is_dir():
        refuse_foreign_files(order.out, "dataset")
    return Manifest(config, made_with, shown(resolved(order.input.root)), aus_from=folder_of(order.aus))


def _mirror(out: Path, whole: Path) -> None:
    """Create a directory for planning, with links to the dataset's plan files."""
    (whole / PLAN_DIR).mkdir(parents=True)
    for path in plan.plan_files(out):
        (whole / PLAN_DIR / path.name).symlink_to(path.resolve())


def _population(whole: Path, out: Path) -> Population:
    """All planned clips of `whole` whose unit is not committed in `out`."""
    left = pending(plan.units(whole), out)
    files = {path.name: number for number, path in enumerate(plan.plan_files(whole))}
    place = [np.arange(unit.start, unit.stop, dtype=np.int64) for unit in left]
    file = [np.full(len(unit), files[unit.plan], np.int64) for unit in left]
    splits = {split: number for number, split in enumerate(sorted({unit.split for unit in left}))}
    split = [np.full(len(unit), splits[unit.split], np.int64) for unit in left]
    costs = {name: plan.read_plan(whole / PLAN_DIR / name, ["cost"])["cost"].to_numpy() for name in files}
    cost = [costs[unit.plan][unit.start : unit.stop].astype(np.float64) for unit in left]
    none = np.zeros(0, np.int64)
    return Population(
        split=np.concatenate([none, *split]),
        cost=np.concatenate([none, *cost]),
        place=np.concatenate([none, *place]),
        file=np.concatenate([none, *file]),
        shards=len(left),
    )


def _drawn(files: list[Path], population: Population, sample: Sample) -> pa.Table:
    """The sampled rows of the plan, in the order of the sample."""
    place, file = population.place[sample.rows], population.file[sample.rows]
    return pa.concat_tables([_rows(path, place[file == number]) for number, path in enumerate(files)])


def _write_plan(part: Path, drawn: pa.Table, shards: int, seed: int) -> list[ShardUnit]:
    """Plan the sample in random order, with one unit per worker, so that all workers are busy throughout."""
    (part / PLAN_DIR).mkdir(parents=True)
    count = len(drawn)
    rows = drawn.take(pa.array(np.random.default_rng([seed, count, 1]).permutation(count)))
    number = np.arange(count) * min(shards, count) // count
    for name, values in (("unit", pa.array(number, pa.int32())), ("split", pa.array([_FOLDER] * count))):
        rows = rows.set_column(rows.column_names.index(name), name, values)
    plan.write_plan_file(part, plan_path(part, 0), rows)
    return plan.units(part)


def _rows(path: Path, places: I64) -> pa.Table:
    """Read rows of a plan file by ascending row numbers, one row group at a time to bound memory."""
    file, first, parts = open_parquet(path), 0, [PLAN.empty_table()]
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        here = places[(places >= first) & (places < first + count)] - first
        if len(here):
            parts.append(completed(file.read_row_group(group), PLAN).take(pa.array(here)))
        first += count
    return pa.concat_tables(parts)


def _measure(units: list[ShardUnit], job: BuildJob, order: BuildOrder, population: Population, sample: Sample) -> Run:
    """Build the sample and measure its speed; times are scaled by the cost of a mean clip relative to the sample's."""
    bar = progress(len(sample.rows), 0, quiet=order.quiet)
    meter = Meter(len(sample.rows), bar)
    start = time.time()
    try:
        choose.run(units, job, order.runner, meter)
    finally:
        bar.close()
    seconds = time.time() - start
    cost_ratio = float(population.cost.mean() / population.cost[sample.rows].mean())
    committed_s = [_marker(job.out, unit).stat().st_mtime for unit in units]
    steady = _steady(meter, committed_s, len(sample.rows)) if order.runner.is_local else None
    times, done = steady or (np.array([0.0, seconds]), np.array([0.0, len(sample.rows)]))
    first = meter.first_s if steady else None
    cpu = meter.cpu_s_per_clip() if order.runner.is_local else None
    return Run(
        seconds,
        None if first is None else first - start,
        estimator.pace(times, done, sample.share).times(cost_ratio),
        None if cpu is None else cpu * cost_ratio,
    )


def _marker(out: Path, unit: ShardUnit) -> Path:
    return marker_path(out, unit.split, unit.name)


def _steady(meter: Meter, committed_s: list[float], clips: int) -> tuple[F64, F64] | None:
    """Progress while all workers were busy: times and clips done, from about one clip per worker until the first unit ended.

    None if too few clips were done in that period, or no progress was reported.
    """
    end, workers = min(committed_s), len(committed_s)
    times, done = meter.steps()
    times, done = times[times < end], done[times < end]
    if workers == 1:
        times, done = np.append(times, end), np.append(done, clips)
    working = done >= workers
    times, done = times[working], done[working]
    return (times, done) if len(done) and done[-1] - done[0] >= _MIN_STEADY_CLIPS and times[-1] > times[0] else None
