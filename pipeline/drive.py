"""A build from start to end: check, plan, run, finalize."""

import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import plan, runners
from pipeline.action_units import check_csvs
from pipeline.device import gpus
from pipeline.finalize import finalize
from pipeline.hygiene import hygiene, summary
from pipeline.input import Input, archives_hint, check_archives, resolved, shown
from pipeline.markers import Markers, pending
from pipeline.mirror import publish_plan, publish_result
from pipeline.progress import progress
from pipeline.provenance import provenance
from pipeline.shard import BuildJob
from pipeline.sources import SOURCES
from pipeline.sources.listing import Listing
from schemas.bucket import Bucket
from schemas.config import BuildConfig, differences
from schemas.errors import ConfigError
from schemas.layout import DATASET_JSON, LOCK, REJECTIONS, WORK_DIR
from schemas.lock import only_writer
from schemas.manifest import Manifest, Run
from schemas.output import refuse_strangers
from schemas.records import ShardUnit
from schemas.removal import matching
from transforms.extract.action_units.csv_folder import CsvFolder
from transforms.extract.action_units.source import AuSource

_MALFORMED_SHOWN = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOrder:
    """What the user asks for, besides the config.

    input: the opened input
    out: the output directory
    bucket: the object store of which `out` is a mirror, see `mirror.mirrored`
    metadata: a csv of clips, for sources that have one
    wanted: which listed clips to plan
    retry: reason codes whose rejected clips are planned again
    weights, compile: directory with weight files of models, looked into first; and whether to compile the networks
    aus: where action units come from, if anywhere
    runner: where to run
    """

    input: Input
    out: Path
    wanted: plan.Wanted
    metadata: Path | None = None
    retry: tuple[str, ...] = ()
    weights: Path | None = None
    compile: bool = False
    aus: AuSource | None = None
    bucket: Bucket | None = None
    runner: runners.Runner = field(default_factory=runners.Runner)
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Ledger:
    """How a run ended: the data set's manifest, and what this run built in how many seconds (planning left out)."""

    manifest: Manifest
    clips_built: int
    seconds: float


def build(order: BuildOrder, config: BuildConfig, say: Callable[[str], None]) -> Ledger:
    """Plan what is new, build what is not committed, and write index and ledger.

    Raises:
        ConfigError: input, output or options cannot be used; nothing has been changed
        BuildFailed: the run stopped; what is committed stays and a further run goes on from there
    """
    made_with = provenance(config, order.weights, order.aus)
    _make_directory(order.out)
    with only_writer(order.out):
        shutil.rmtree(order.out / WORK_DIR, ignore_errors=True)  # of a run that was killed
        manifest = open_data_set(order, config, made_with)
        try:
            manifest = plan_into(order, config, manifest, say)
        except ConfigError:
            _forget(order.out)
            raise
        if order.bucket is not None:
            publish_plan(order.bucket, order.out)
        ledger = _build_planned(order, config, manifest)
        shutil.rmtree(order.out / WORK_DIR, ignore_errors=True)
    if ledger.clips_built and (late := ledger.manifest.hygiene["past_the_end"]["count"]):
        say(f"annotated past the end of the video: {late} clips")
    return ledger


def _build_planned(order: BuildOrder, config: BuildConfig, manifest: Manifest) -> Ledger:
    """Build the units without a marker; index and ledger are written anew where they are not of all units."""
    start = time.monotonic()
    units = plan.units(order.out)
    markers = Markers(order.out, order.bucket)
    left = markers.left(units)
    try:
        _run(order, config, manifest, units, left)
        markers.left(left)  # has those of a bucket here, which not every runner has looked at
    except BaseException:
        with suppress(OSError):  # what ended the run is told, not that it could not be noted
            _noted(manifest, order, left, start).write(order.out)
        raise
    if left or not manifest.complete or len(manifest.shards) != len(units):
        manifest = finalize(order.out, _noted(manifest, order, left, start))
        if order.bucket is not None:
            publish_result(order.bucket, order.out)
    return Ledger(manifest, sum(len(unit) for unit in left), time.monotonic() - start)


def _noted(manifest: Manifest, order: BuildOrder, units: list[ShardUnit], start: float) -> Manifest:
    """The manifest with this run, begun at `start` (monotonic, seconds) over `units`; as it was where nothing was committed."""
    left = pending(units, order.out)
    clips = sum(len(unit) for unit in units) - sum(len(unit) for unit in left)
    if not clips:
        return manifest
    workers = order.runner.workers if order.runner.is_here else 0
    seconds = round(time.monotonic() - start, 3)
    run = Run(datetime.now(UTC).isoformat(timespec="seconds"), clips, seconds, order.runner.name, workers)
    return replace(manifest, runs=(*manifest.runs, run))


def _make_directory(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / WORK_DIR
        probe.mkdir(exist_ok=True)
        (probe / "writable").write_bytes(b"")
        (probe / "writable").unlink()
    except OSError as error:
        raise ConfigError(f"cannot write to --output {out}: {error.strerror}") from error


def open_data_set(order: BuildOrder, config: BuildConfig, made_with: dict[str, str]) -> Manifest:
    """The data set's manifest, new or as it lies there; refuses one that would come out different."""
    if not (order.out / DATASET_JSON).exists():
        refuse_strangers(order.out, "data set")
        manifest = Manifest(config, made_with, shown(resolved(order.input.root)), aus_from=folder_of(order.aus))
        manifest.write(order.out)
        return manifest
    manifest = Manifest.read(order.out)
    if manifest.interrupted:
        raise ConfigError(f"{order.out}: {manifest.interrupted}")
    changed = differences(manifest.config.to_json(), config.to_json()) + differences(manifest.provenance, made_with)
    if changed:
        raise ConfigError(f"{order.out} holds a data set made differently ({'; '.join(changed)}); choose another --output")
    return manifest


def folder_of(aus: AuSource | None) -> str:
    """The folder of csv files of action units; empty where there is none."""
    return str(aus.folder) if isinstance(aus, CsvFolder) else ""


def _forget(out: Path) -> None:
    """Leave nothing behind in an output for which nothing could be planned."""
    if not plan.plan_files(out):
        (out / DATASET_JSON).unlink(missing_ok=True)
        shutil.rmtree(out / WORK_DIR, ignore_errors=True)
        (out / LOCK).unlink(missing_ok=True)
        with suppress(OSError):
            out.rmdir()


def plan_into(order: BuildOrder, config: BuildConfig, manifest: Manifest, say: Callable[[str], None]) -> Manifest:
    """Plan new clips, and rejected ones that are to be tried again; gives the manifest with what is doubtful about the corpus."""
    again = _plan_retries(order, config, manifest)
    if again:
        say(f"planned again: {again} rejected clips")
    listing, listed = _list(order, config)
    check_csvs(order.aus, listed)
    removed = matching(listed, manifest.removals)
    report = hygiene(plan.only(listed, ~removed), listing.malformed)
    new = plan.plan_new(order.out, listed, config, order.wanted, manifest.removals)
    if not plan.plan_files(order.out):
        expected = SOURCES[config.source].expected + archives_hint(order.input)
        raise ConfigError(f"no clips of {config.source} below {shown(order.input.root)} (expected {expected})")
    say(f"planned: {new} new clips")
    if removed.any():
        say(f"left out, as they were removed on request: {removed.sum()} clips")
    for line in listing.malformed[:_MALFORMED_SHOWN]:
        say(f"left out: {line}")
    if doubts := summary(report):
        say(f"doubtful in the corpus, and kept: {doubts}")
    found_before = {name: doubt for name, doubt in manifest.hygiene.items() if name not in report}
    manifest = replace(manifest, hygiene={**report, **found_before}, archives={**manifest.archives, **order.input.archives})
    manifest.write(order.out)
    return manifest


def _list(order: BuildOrder, config: BuildConfig) -> tuple[Listing, pa.Table]:
    """The source's clips, as a table to plan from."""
    source = SOURCES[config.source]
    if isinstance(order.input.root, Path):
        source.prepare(order.input.root)
    listing = Listing(order.input.tree, config.unit, order.metadata, list(order.input.refused))
    try:
        if isinstance(order.input.root, Path) and not order.input.root.is_dir():
            raise ConfigError(f"--input {order.input.root} is not a directory")
        return listing, plan.listing_table(source.list_clips(listing), config)
    except PermissionError as error:
        raise ConfigError(f"cannot read --input {error.filename}: {error.strerror}") from error


def _plan_retries(order: BuildOrder, config: BuildConfig, manifest: Manifest) -> int:
    path = order.out / REJECTIONS
    if not order.retry or not path.exists():
        return 0
    rejections = pq.read_table(path)
    chosen = rejections.filter(pc.is_in(rejections["reason"], pc.cast(list(order.retry), "string")))
    return plan.plan_again(order.out, chosen, config, {entry.name for entry in manifest.shards})


def decoders(config: BuildConfig, workers: int) -> int:
    """ffmpeg processes of one worker: two where the model keeps its core busy, all cores' worth where a GPU does the work."""
    return max(2, len(os.sched_getaffinity(0)) // workers) if gpus(config.landmarks) else 2


def _run(order: BuildOrder, config: BuildConfig, manifest: Manifest, units: list[ShardUnit], left: list[ShardUnit]) -> None:
    """Build what is left, unless nothing is."""
    if not left:
        return
    check_archives(order.input.root, manifest.archives)
    job = job_of(order, config, manifest.provenance["ffmpeg"])
    run_units(left, sum(len(unit) for unit in units), job, order.runner, quiet=order.quiet)


def job_of(order: BuildOrder, config: BuildConfig, ffmpeg: str) -> BuildJob:
    """What workers are told."""
    return BuildJob(
        resolved(order.input.root),
        order.out.resolve(),
        config,
        ffmpeg,
        decoders=decoders(config, order.runner.workers),
        weights=order.weights.resolve() if order.weights else None,
        compile=order.compile,
        aus=order.aus,
        bucket=order.bucket,
        run=uuid.uuid4().hex,
    )


def run_units(left: list[ShardUnit], total: int, job: BuildJob, runner: runners.Runner, *, quiet: bool) -> None:
    """Build the units that are left of `total` planned clips, and show how it gets on."""
    bar = progress(total, total - sum(len(unit) for unit in left), quiet=quiet)
    try:
        runners.run(left, job, runner, bar)
    finally:
        bar.close()
