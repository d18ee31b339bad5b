"""Verify a finished dataset: digests, index, ledger and the content of every sample.

    python -m dataset.verify OUT [--fast]

Prints one line per fault, which begins with the file, and a summary line. Exit status: 0 no faults, 1 faults, 2 invalid
arguments, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from cyclopts.types import PositiveInt
from tqdm import tqdm

from motionshards.dataset.checks.croissant import check_croissant
from motionshards.dataset.checks.files import check_card, check_files, check_manifest, check_people
from motionshards.dataset.checks.ledger import Plan, check_built, check_conservation, check_counts, read_plan, stray_files
from motionshards.dataset.checks.removals import check_removals
from motionshards.dataset.checks.shard import OUTCOMES, ShardClaim, ShardFindings, check_shard
from motionshards.dataset.checks.tables import UNREADABLE, RowsByShard, cause_of
from motionshards.dataset.commandline import FAILED, OK, DatasetArgument, OutputOptions, command, show
from motionshards.dataset.storage.bucket import contents, directory_of
from motionshards.schemas.bucket import Bucket
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ConfigError, DatasetError, StoreFailed
from motionshards.schemas.layout import DATASET_JSON, INDEX, REJECTIONS, marker_path, tar_path
from motionshards.schemas.manifest import Manifest, ShardEntry
from motionshards.schemas.printable import printable
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

_SHOWN = 1000  # characters of a fault
_CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a verification.

    faults, warnings: one line each; a dataset with warnings only is valid
    shards, clips, frames: number of checked shards, kept clips and described frames
    video_frames, sounds: number of frames of stored videos, and of clips with sound
    """

    faults: tuple[str, ...]
    shards: int
    clips: int
    frames: int
    warnings: tuple[str, ...] = ()
    video_frames: int = 0
    sounds: int = 0

    def __str__(self) -> str:
        verdict = _counted(self.faults, "fault") or "ok"
        verdict += f", {_counted(self.warnings, 'warning')}" if self.warnings else ""
        moving = f", video of {self.video_frames} frames, sound of {self.sounds} clips" if self.video_frames else ""
        return f"{self.shards} shards, {self.clips} clips, {self.frames} frames{moving}: {verdict}"


def _counted(found: Sequence[str], what: str) -> str:
    return f"{len(found)} {what}{'' if len(found) == 1 else 's'}" if found else ""


@dataclass(slots=True)
class _Run:
    """A running verification: its settings, and what it has found so far."""

    out: Path
    fast: bool
    workers: int
    on_progress: Callable[[int], object]
    bucket: Bucket | None = None
    only: Set[str] | None = None
    shards: int = 0
    outcomes: list[pa.Table] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def verify(
    out: Path,
    *,
    fast: bool = False,
    workers: int = _CORES,
    only: Set[str] | None = None,
    bucket: Bucket | None = None,
    log: Callable[[str], object] = lambda fault: None,
    on_progress: Callable[[int], object] = lambda clips: None,
) -> Report:
    """Check the dataset in the directory `out`; damage of any kind becomes a fault, never an exception.

    Args:
        fast: hash the shards and check their structure, but decode no frames, arrays, video or sound
        workers: number of shards to check at a time
        only: names of the shards whose tars are read; None for all
        bucket: the object store that `out` mirrors, see `dataset.storage.bucket`
        log: called with each fault as it is found, then with each warning
        on_progress: called with the number of clips just checked
    """
    run, faults = _Run(out, fast, workers, on_progress, bucket, only), []
    for fault in map(_one_line, _check(run)):
        faults.append(fault)
        log(fault)
    warnings = tuple(map(_one_line, run.warnings))
    for warning in warnings:
        log(f"warning: {warning}")
    outcomes = pa.concat_tables([OUTCOMES.empty_table(), *run.outcomes])
    sums = ("kept", "n_frames", "video_frames", "has_audio")
    clips, frames, video_frames, sounds = (pc.sum(outcomes[name]).as_py() or 0 for name in sums)
    return Report(tuple(faults), run.shards, clips, frames, warnings, video_frames, sounds)


def _one_line(text: str) -> str:
    """Shorten and escape a fault: it may quote a value of a damaged file, megabytes long or with control characters."""
    return printable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …")


def _check(run: _Run) -> Iterator[str]:
    """Yield faults as they are found."""
    try:
        manifest = _read_manifest(run.out)
    except DatasetError as error:
        yield f"{DATASET_JSON}: {error}"
        return
    if manifest.unfinished:
        yield f"{DATASET_JSON}: {manifest.unfinished}"
        return
    yield from check_manifest(run.out, manifest)
    yield from check_files(run.out, manifest)
    run.warnings += _warnings(run.out, manifest)
    plan = read_plan(run.out)
    shards = {entry.name: entry for entry in manifest.shards}
    yield from plan.faults
    yield from check_built(plan, shards)
    yield from _check_shards(run, manifest, plan)
    yield from _check_ledger(run, manifest, plan)
    yield from check_removals(run.out, manifest, plan)
    yield from check_croissant(run.out, manifest)
    yield from stray_files(run.out, shards, plan)


def _read_manifest(out: Path) -> Manifest:
    path = out / DATASET_JSON
    if not path.exists():
        raise DatasetError("is missing: this is not a dataset, or its build has not started")
    try:
        return Manifest.read(out)
    except DatasetError as error:
        raise DatasetError(cause_of(error).removeprefix(f"{path} ")) from error


def _warnings(out: Path, manifest: Manifest) -> Iterator[str]:
    if manifest.format_version == 1:
        yield f"{DATASET_JSON}: format version 1 has no digests of plan, tables and markers: damage there may go undetected"
    if edited := check_card(out, manifest):
        yield edited
    if outdated := check_people(out, manifest):
        yield outdated


def _check_shards(run: _Run, manifest: Manifest, plan: Plan) -> Iterator[str]:
    """Check shards in a thread pool, only a few ahead to bound memory; hashing and decoding release the GIL."""
    with ThreadPoolExecutor(run.workers, thread_name_prefix="verify") as pool:
        ahead: deque[tuple[ShardEntry, Future[ShardFindings]]] = deque()
        claims = _Claims(run.out, plan, {entry.name for entry in manifest.shards})
        try:
            for entry in manifest.shards:
                claim = claims.of(entry)
                tar = run.only is None or entry.name in run.only
                ahead.append((entry, pool.submit(_check_one, run, claim, manifest.config, tar)))
                if len(ahead) > run.workers + 1:
                    yield from _noted(run, *ahead.popleft())
            while ahead:
                yield from _noted(run, *ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
    yield from claims.faults


def _check_one(run: _Run, claim: ShardClaim, config: BuildConfig, tar: bool) -> ShardFindings:
    places = [place(run.out, claim.entry.split, claim.entry.name) for place in (marker_path, tar_path)]
    with contents(run.bucket, run.out, places):
        try:
            return check_shard(claim, run.out, config, fast=run.fast, tar=tar)
        except StoreFailed:
            raise
        except Exception as error:  # a crafted file can have values of types that no build writes
            return ShardFindings(
                [f"{places[0].relative_to(run.out)}: cannot be checked: {type(error).__name__}: {cause_of(error)}"]
            )


def _noted(run: _Run, entry: ShardEntry, checked: Future[ShardFindings]) -> list[str]:
    findings = checked.result()
    run.shards += 1
    run.on_progress(entry.clips + entry.rejected)
    if findings.outcomes is not None:
        run.outcomes.append(findings.outcomes)
    return findings.faults


class _Claims:
    """What plan, index and rejections claim about each shard. An unreadable file is one fault, and claims nothing."""

    def __init__(self, out: Path, plan: Plan, listed: set[str]) -> None:
        self.faults: list[str] = []
        self._plan, self._superseded = plan, plan.superseded(listed)
        self._tables: dict[str, RowsByShard | None] = {}
        for name, schema in ((INDEX, INDEX_SCHEMA), (REJECTIONS, REJECTIONS_SCHEMA)):
            try:
                self._tables[name] = table = RowsByShard(out / name, schema)
            except UNREADABLE as error:
                self._lose(name, error)
                continue
            strange = {shard: rows for shard, rows in table.shards.items() if shard not in listed}
            self.faults += [f"{name}: has {rows} rows of an unknown shard {shard!r}" for shard, rows in strange.items()]

    def of(self, entry: ShardEntry) -> ShardClaim:
        unit = self._plan.units.get(entry.name)
        nothing = pa.array([], pa.string())
        return ShardClaim(
            entry,
            planned=unit.keys if unit and self._plan.readable else None,
            superseded=self._superseded.get(unit.plan, nothing) if unit else nothing,
            index=self._rows(INDEX, entry.name),
            rejections=self._rows(REJECTIONS, entry.name) if self._plan.readable else None,
        )

    def _rows(self, name: str, shard: str) -> pa.Table | None:
        table = self._tables[name]
        try:
            return None if table is None else table.of(shard)
        except UNREADABLE as error:
            self._lose(name, error)
            return None

    def _lose(self, name: str, error: Exception) -> None:
        self._tables[name] = None
        missing = isinstance(error, FileNotFoundError)
        self.faults.append(f"{name}: {'is missing' if missing else f'cannot be read: {cause_of(error)}'}")


def _check_ledger(run: _Run, manifest: Manifest, plan: Plan) -> Iterator[str]:
    """Check sums over all shards; skipped if a marker or plan file is unreadable, which has been reported already."""
    if not plan.readable or len(run.outcomes) != len(manifest.shards):
        return
    outcomes = pa.concat_tables([OUTCOMES.empty_table(), *run.outcomes])
    planned = [plan.units[entry.name] for entry in manifest.shards if entry.name in plan.units]
    yield from check_conservation(planned, outcomes)
    yield from check_counts(manifest, planned, outcomes)


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(OutputOptions, DatasetArgument):
    """Options of `motionshards verify`."""

    fast: bool = False
    """Check digests and the structure of the shards, but decode no frames, arrays, video or sound."""
    workers: PositiveInt = _CORES
    """Number of threads; by default one per core."""


@command("verify", unusable=(ConfigError, DatasetError, StoreFailed))
def main(options: VerifyOptions) -> int:
    """Verify a dataset: digests, index, frames, arrays, video, sound, and that no clip was lost."""
    start = time.monotonic()
    report = _verify_and_print(options)
    seconds = round(time.monotonic() - start, 3)
    found = {each.name: getattr(report, each.name) for each in fields(report)}
    show(json.dumps({"ok": not report.faults, **found, "seconds": seconds}) if options.json else report)
    return FAILED if report.faults else OK


def _verify_and_print(options: VerifyOptions) -> Report:
    """Print faults as they are found, above a progress bar if stderr is a terminal."""
    with options.bar("clip") as bar:
        log = partial(tqdm.write, file=sys.stdout)
        with directory_of(options.data) as (out, bucket):
            if not out.is_dir():
                raise ConfigError(f"{options.data} is not a directory")
            return verify(out, fast=options.fast, workers=options.workers, bucket=bucket, log=log, on_progress=bar.update)
