"""Build a dataset: check, plan, run, finalize."""

import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from motionshards.pipeline.clips.device import gpus
from motionshards.pipeline.finalize import finalize
from motionshards.pipeline.inputs.input import check_archives, resolved, shown
from motionshards.pipeline.order import BuildOrder
from motionshards.pipeline.plan_input import plan_into
from motionshards.pipeline.planning import plan, start_over
from motionshards.pipeline.planning.intact import check_intact
from motionshards.pipeline.planning.provenance import provenance
from motionshards.pipeline.runners import choose
from motionshards.pipeline.runners.progress import progress
from motionshards.pipeline.shards.bucket import publish_plan, publish_result
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.shards.markers import Markers, pending
from motionshards.pipeline.upgrade import upgraded
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import DATASET_JSON, LOCK, WORK_DIR, text_of
from motionshards.schemas.manifest import FORMAT_VERSION, Manifest, Run, made_by
from motionshards.schemas.output import only_writer, refuse_foreign_files
from motionshards.schemas.records import ShardUnit
from motionshards.transforms.extract.action_units.csv_folder import CsvFolder
from motionshards.transforms.extract.action_units.source import AuSource


@dataclass(frozen=True, slots=True)
class Ledger:
    """The result of a run: the dataset's manifest, the number of clips built, and the seconds it took, excluding planning."""

    manifest: Manifest
    clips_built: int
    seconds: float


def build(order: BuildOrder, config: BuildConfig, log: Callable[[str], None]) -> Ledger:
    """Plan new clips, build uncommitted units, and write index and ledger.

    Raises:
        ConfigError: invalid input, output or options; nothing has been changed
        BuildFailed: the run stopped; committed shards are kept, and a further run resumes
    """
    made_with = provenance(config, order.weights, order.aus)
    _make_directory(order.out)
    with only_writer(order.out):
        shutil.rmtree(order.out / WORK_DIR, ignore_errors=True)  # left by a killed run
        emptied = order.bucket is None and start_over.empty_if_nothing_was_kept(order.out, config, made_with, log)
        manifest = upgraded(order.out, (_new_dataset if emptied else open_or_create)(order, config, made_with), log)
        planned_before = bool(plan.plan_files(order.out))
        try:
            manifest = plan_into(order, config, manifest, log)
        except ConfigError:
            _forget(order.out)
            raise
        if order.bucket is not None:
            publish_plan(order.bucket, order.out)
        ledger = _build_planned(order, config, manifest, log if planned_before else lambda text: None)
        shutil.rmtree(order.out / WORK_DIR, ignore_errors=True)
    if ledger.clips_built and (late := ledger.manifest.hygiene["past_the_end"]["count"]):
        log(f"annotation extends past the end of the video: {late} clips")
    return ledger


def _build_planned(order: BuildOrder, config: BuildConfig, manifest: Manifest, log: Callable[[str], None]) -> Ledger:
    """Build the units without a marker; then write index and ledger, unless they already cover all units.

    log: receives the number of clips that are built already
    """
    start = time.monotonic()
    units = plan.units(order.out)
    markers = Markers(order.out, order.bucket)
    left = markers.left(units)
    total, remaining = (sum(map(len, some)) for some in (units, left))
    log(f"resuming: {total - remaining} of {total} clips are built" if left else f"all {total} clips are built")
    try:
        _run(order, config, manifest, units, left)
        markers.left(left)  # downloads all markers of a bucket, which not every runner does
    except BaseException:
        with suppress(OSError):  # report the original error, not that recording the run failed
            _with_run(manifest, order, left, start).write(order.out)
        raise
    missing = order.bucket is None and not all((order.out / name).exists() for name in manifest.files)
    if left or not manifest.complete or len(manifest.shards) != len(units) or missing:
        manifest = finalize(order.out, _with_run(manifest, order, left, start))
        if order.bucket is not None:
            publish_result(order.bucket, order.out)
    return Ledger(manifest, remaining, time.monotonic() - start)


def _with_run(manifest: Manifest, order: BuildOrder, units: list[ShardUnit], start: float) -> Manifest:
    """The manifest with this run over `units`, started at `start` (monotonic seconds); unchanged if nothing was committed."""
    left = pending(units, order.out)
    clips = sum(len(unit) for unit in units) - sum(len(unit) for unit in left)
    if not clips:
        return manifest
    workers = order.runner.workers if order.runner.is_local else 0
    seconds = round(time.monotonic() - start, 3)
    run = Run(datetime.now(UTC).isoformat(timespec="seconds"), clips, seconds, order.runner.name, workers)
    return replace(manifest, runs=(*manifest.runs, run))


def _make_directory(out: Path) -> None:
    if text_of(str(out)) != str(out):
        raise ConfigError(f"--output {text_of(str(out))} is not valid UTF-8, which parquet files require")
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / WORK_DIR
        probe.mkdir(exist_ok=True)
        (probe / "writable").write_bytes(b"")
        (probe / "writable").unlink()
    except OSError as error:
        raise ConfigError(f"cannot write to --output {out}: {error.strerror}") from error


def open_or_create(order: BuildOrder, config: BuildConfig, made_with: dict[str, str]) -> Manifest:
    """Read the dataset's manifest, or write a new one. Raises ConfigError: it was built with different settings."""
    if not (order.out / DATASET_JSON).exists():
        refuse_foreign_files(order.out, "dataset")
        return _new_dataset(order, config, made_with)
    manifest = Manifest.read(order.out)
    if manifest.interrupted:
        raise ConfigError(f"{order.out}: {manifest.interrupted}")
    if manifest.format_version < FORMAT_VERSION and order.bucket is not None:
        raise ConfigError(f"{order.bucket.url} has format version {manifest.format_version}, which is only upgraded on a disk")
    if changed := manifest.changed(config, made_with):
        advice = _advice(manifest, config)
        raise ConfigError(f"{order.out} already holds a dataset built with different settings ({'; '.join(changed)}); {advice}")
    check_intact(order.out, manifest, planning=True)
    return manifest


def _advice(manifest: Manifest, config: BuildConfig) -> str:
    """The remedy for different settings: pass the settings that additions have changed, if those are the only ones."""
    requested, added = config.to_json(), {name for one in manifest.additions for name in one.config}
    changed = {name: value for name, value in manifest.config.to_json().items() if value != requested.get(name)}
    if not changed or not changed.keys() <= added:
        return "use another --output"
    options = [f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}") for name, value in changed.items()]
    return f"additions have changed them: pass {' '.join(options)}, or use another --output"


def _new_dataset(order: BuildOrder, config: BuildConfig, made_with: dict[str, str]) -> Manifest:
    manifest = Manifest(config, made_with, shown(resolved(order.input.root)), aus_from=folder_of(order.aus))
    manifest.write(order.out)
    return manifest


def folder_of(aus: AuSource | None) -> str:
    """The folder of csv files of action units; empty if there is none."""
    return str(aus.folder) if isinstance(aus, CsvFolder) else ""


def _forget(out: Path) -> None:
    """Delete the files of an output for which nothing could be planned."""
    if not plan.plan_files(out):
        (out / DATASET_JSON).unlink(missing_ok=True)
        shutil.rmtree(out / WORK_DIR, ignore_errors=True)
        (out / LOCK).unlink(missing_ok=True)
        with suppress(OSError):
            out.rmdir()


def decoders(config: BuildConfig, workers: int) -> int:
    """Concurrent decoders per worker: two if the face model runs on the CPU, a share of all cores if it runs on a GPU."""
    return max(2, len(os.sched_getaffinity(0)) // workers) if gpus(config.landmarks) else 2


def _run(order: BuildOrder, config: BuildConfig, manifest: Manifest, units: list[ShardUnit], left: list[ShardUnit]) -> None:
    """Build the remaining units, if any."""
    if not left:
        return
    check_archives(order.input.root, manifest.archives)
    job = job_of(order, config, manifest.provenance)
    run_units(left, sum(len(unit) for unit in units), job, order.runner, quiet=order.quiet)


def job_of(order: BuildOrder, config: BuildConfig, made_with: dict[str, str]) -> BuildJob:
    """The job description for workers."""
    return BuildJob(
        resolved(order.input.root),
        order.out.resolve(),
        config,
        made_with["ffmpeg"],
        decoders=decoders(config, order.runner.workers),
        weights=order.weights.resolve() if order.weights else None,
        compile=order.compile,
        aus=order.aus,
        bucket=order.bucket,
        run=uuid.uuid4().hex,
        made_by=made_by(config, made_with),
    )


def run_units(left: list[ShardUnit], total: int, job: BuildJob, runner: choose.Runner, *, quiet: bool) -> None:
    """Build the remaining units, out of `total` planned clips, and show the progress."""
    bar = progress(total, total - sum(len(unit) for unit in left), quiet=quiet)
    try:
        choose.run(left, job, runner, bar)
    finally:
        bar.close()
