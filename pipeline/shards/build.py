"""Build one shard: decode clips ahead in a bounded pool of threads (one decoder process each), write the tar, then the marker.

A shard is committed once its marker exists. Building it twice is harmless: the bytes are the same.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from motionshards.pipeline.clips.action_units import with_action_units
from motionshards.pipeline.clips.clip import finish_clips, read_clip
from motionshards.pipeline.clips.device import model_options
from motionshards.pipeline.clips.isolate import build_alone
from motionshards.pipeline.clips.read import ReadClip
from motionshards.pipeline.clips.sequences import Sequences, sequences_for
from motionshards.pipeline.inputs.unpack import Root
from motionshards.pipeline.planning.plan import read_unit
from motionshards.pipeline.planning.provenance import check_decoder
from motionshards.pipeline.shards.journal import Abandoned, Journal
from motionshards.pipeline.shards.tar import ShardWriter, size_and_hash
from motionshards.schemas.atomic import replacing
from motionshards.schemas.bucket import Bucket
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import marker_path, planned_key, tar_path
from motionshards.schemas.manifest import ShardEntry
from motionshards.schemas.marker import write_marker
from motionshards.schemas.records import Clip, ClipSpec, Rejected, ShardUnit
from motionshards.schemas.removal import is_placeholder
from motionshards.schemas.samples.encode import encode_sample
from motionshards.schemas.tables import MARKER, clip_row, rejected_row, table
from motionshards.transforms.extract.action_units.source import AuSource
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.options import ModelOptions

Outcome = Clip | Rejected
Read = ReadClip | Outcome


@dataclass(frozen=True, slots=True)
class BuildJob:
    """Everything a worker needs besides its unit.

    root, out: input with the videos, and output directory of the dataset
    ffmpeg: required FFmpeg version of the decoder
    decoders: maximum number of concurrent decoder processes per worker
    journal: directory for journals, shared by all workers and the driver
    scratch: local directory for temporary files and locks shared by the workers of this machine; None for the system's default
    suspects: clips that were in flight on workers that died; each is built in an isolated process
    weights: directory that is searched first for weight files of models
    compile: whether to compile the networks
    aus: source of action units, if any
    bucket: object store that the dataset is built into; `out` is then a local directory
    run: unique identifier of the run
    made_by: digest of everything that determines the bytes, recorded in each shard
    addition, adding: number and name of the addition to existing shards; None for a build
    """

    root: Root
    out: Path
    config: BuildConfig
    ffmpeg: str
    decoders: int = 2
    journal: Path | None = None
    scratch: Path | None = None
    suspects: frozenset[str] = field(default=frozenset())
    weights: Path | None = None
    compile: bool = False
    aus: AuSource | None = None
    bucket: Bucket | None = None
    run: str = ""
    made_by: str | None = None
    addition: int | None = None
    adding: str | None = None

    @property
    def model_options(self) -> ModelOptions:
        """The options with which this process runs the face model."""
        return model_options(self.config, self.weights, self.scratch, compiled=self.compile)


def build_shard(unit: ShardUnit, job: BuildJob) -> ShardUnit:
    """Build and commit one unit; returns immediately if it is already committed."""
    marker = marker_path(job.out, unit.split, unit.name)
    if marker.exists():
        return unit
    check_decoder(job.ffmpeg)
    journal = Journal(job.journal, unit.name)
    job = replace(job, suspects=job.suspects | journal.in_flight_elsewhere())
    committed = False
    try:
        with sequences_for(job.aus, job.scratch) as sequences:
            built = _journaled(outcomes(read_unit(job.out, unit), job, journal, sequences), journal)
            entry, rows = _write_tar(unit, with_action_units(built, job.aus, job.config, job.scratch, sequences), job)
        if entry.clips and not tar_path(job.out, unit.split, unit.name).exists():
            raise Abandoned(unit.name)  # the work directory was removed while the tar was being written
        with replacing(job.out, marker) as temporary:
            write_marker(temporary, entry, table(rows, MARKER))
        committed = True
    finally:
        journal.close(committed=committed)
    return unit


def _journaled(built: Iterable[list[Outcome]], journal: Journal) -> Iterator[list[Outcome]]:
    """Record clips as done once the next is requested: they are written, or wait for a program that cannot kill this process."""
    for clip in built:
        yield clip
        journal.done(planned_key(clip[0].spec.key))


def _write_tar(unit: ShardUnit, built: Iterable[list[Outcome]], job: BuildJob) -> tuple[ShardEntry, list[dict[str, Any]]]:
    """Write the samples; returns the shard's entry, with the hash of the file on disk, and the marker rows."""
    rows = []
    target = tar_path(job.out, unit.split, unit.name)
    target.unlink(missing_ok=True)  # left by a run that ended between tar and marker
    with replacing(job.out, target) as temporary:
        with ShardWriter(temporary) as writer:
            for clip in built:
                rows += [_row(outcome, unit, writer) for outcome in clip]
        kept = sum(row["kept"] for row in rows)
        entry = ShardEntry(unit.name, unit.split, kept, len(rows) - kept, *size_and_hash(temporary), made_by=job.made_by)
        return entry, rows


def _row(outcome: Outcome, unit: ShardUnit, writer: ShardWriter) -> dict[str, Any]:
    if isinstance(outcome, Clip):
        return clip_row(outcome, unit.name, writer.add(outcome.spec.key, encode_sample(outcome)))
    return rejected_row(outcome, unit.name)


def outcomes(
    specs: list[ClipSpec], job: BuildJob, journal: Journal, sequences: Sequences | None = None
) -> Iterator[list[Outcome]]:
    """Yield the outcomes of each clip (one per tube) in the order of `specs`.

    Suspects are built first, one at a time, with no other clip in flight.
    """
    alone = {spec.key: _alone(spec, job, journal, sequences) for spec in specs if spec.key in job.suspects}
    alone |= {spec.key: [Rejected(spec, "removed")] for spec in specs if is_placeholder(spec.key)}
    model = models.load(job.config.landmarks, job.model_options)
    batch: list[list[Read]] = []
    for read in _read_ahead(specs, alone, model, job, journal, sequences):
        batch.append(read)
        frames = sum(len(one.crop) for clip in batch for one in clip if isinstance(one, ReadClip))
        if model is None or frames >= model.batch_frames:
            yield from _finished(batch, model, job.config)
            batch = []
    yield from _finished(batch, model, job.config)


def _alone(spec: ClipSpec, job: BuildJob, journal: Journal, sequences: Sequences | None) -> list[Outcome]:
    journal.begin(spec.key)
    built = build_alone(spec, job.root, job.config, job.model_options, sequences)
    journal.done(spec.key)
    return built


def _finished(batch: list[list[Read]], model: models.FaceModel | None, config: BuildConfig) -> Iterator[list[Outcome]]:
    """Finish the clips of a batch that were read; yields outcomes in order."""
    done = iter(finish_clips([one for clip in batch for one in clip if isinstance(one, ReadClip)], model, config))
    for clip in batch:
        yield [next(done) if isinstance(one, ReadClip) else one for one in clip]


def _read_ahead(
    specs: list[ClipSpec],
    alone: dict[str, list[Outcome]],
    model: models.FaceModel | None,
    job: BuildJob,
    journal: Journal,
    sequences: Sequences | None,
) -> Iterator[list[Read]]:
    """Read clips in a thread pool, in order, and only a few ahead of the consumer, to bound memory."""

    def read(spec: ClipSpec) -> list[Read]:
        if spec.key in alone:
            return list(alone[spec.key])
        journal.begin(spec.key)
        return list(read_clip(spec, job.root, model, job.config, sequences))

    with ThreadPoolExecutor(job.decoders, thread_name_prefix="decode") as pool:
        ahead: deque[Future[list[Read]]] = deque()
        for spec in specs:
            ahead.append(pool.submit(read, spec))
            if len(ahead) > job.decoders + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
