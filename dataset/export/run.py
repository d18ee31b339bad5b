"""Runs an export: selects clips, distributes them to worker processes, and resumes interrupted exports."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from importlib import import_module
from itertools import groupby, islice
from operator import and_, itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from motionshards import __version__
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import FAULTS, Format, Settings, format_of
from motionshards.dataset.export.names import Names
from motionshards.dataset.export.pool import export_tasks
from motionshards.dataset.export.record import NAME, check_same_export, has_faults, read_header, write_header, write_record
from motionshards.dataset.export.worker import Setup, Task
from motionshards.dataset.index import Dataset
from motionshards.dataset.query.where import parse
from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.errors import ConfigError, DatasetError, either
from motionshards.schemas.layout import DATASET_JSON, tar_path
from motionshards.schemas.output import only_writer, refuse_foreign_files

DEFAULT_CRF = 18
# Much less than a shard's 256, so that many workers finish at the same time even with few shards.
_TASK_CLIPS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOrder:
    """What to export, and how. None means the default of the format or of the dataset.

    splits: splits to export; () for the format's default
    limit: export only the first `limit` clips
    workers: number of processes; does not change the exported bytes
    """

    output: Path
    format: str
    splits: tuple[str, ...] = ()
    where: str | None = None
    size: int | None = None
    frames: str | None = None
    crf: int | None = None
    limit: int | None = None
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Totals:
    """The result of an export.

    clips, written, left_out: number of selected clips, of exported clips, and of all others by reason
    files: number of files and folders, as listed in export.json
    frames: number of exported frames
    seconds, clips_per_s: time and speed of this run
    """

    output: str
    format: str
    clips: int
    written: int
    files: int
    frames: int
    left_out: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    clips_per_s: float = 0.0

    @property
    def faulty(self) -> bool:
        """Whether nothing was written, or clips of the dataset are damaged."""
        return not self.written or bool(FAULTS & self.left_out.keys())

    def __str__(self) -> str:
        lost = ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())
        written = f"{self.written:,} of {self.clips:,} clips as {self.format}, {self.files:,} files, {self.frames:,} frames"
        speed = f"; {self.clips_per_s:.1f} clips/s" if self.clips_per_s else ""
        return f"{self.output}: {written}{f' ({lost})' if lost else ''}{speed}"


def export(
    data: Dataset,
    order: ExportOrder,
    log: Callable[[str], object] = lambda line: None,
    on_progress: Callable[[int], object] = lambda clips: None,
    on_start: Callable[[int], object] = lambda clips: None,
) -> Totals:
    """Export clips of a dataset into the directory `order.output`, or resume an interrupted export there.

    Clips that were damaged in an earlier run are retried.

    Args:
        log: called with messages for the user
        on_start: called with the number of selected clips
        on_progress: called with the number of clips of each finished task, including tasks finished by an earlier run

    Raises:
        ConfigError: an option or the directory cannot be used
        DatasetError: the dataset cannot be read
        BuildFailed: a worker died for a reason other than a clip
    """
    output = _output(data, order)
    selection = _Selection.of(data, order)
    settings = _settings(data, order, selection)
    header = _header(data, order, selection, settings)
    if counts := _complete(output, header):
        shutil.rmtree(output.work, ignore_errors=True)
        log(f"nothing to do: {order.output} already holds this export")
        return Totals(str(order.output), order.format, **counts)
    on_start(clips := len(selection.keys()))
    if not clips:
        raise ConfigError(f"no clips to export: {selection.why_empty(order)}")
    output.root.mkdir(parents=True, exist_ok=True)
    with only_writer(output.root):
        start, progress = time.monotonic(), _Progress(output, on_progress)
        shutil.rmtree(output.temporary, ignore_errors=True)
        write_header(output, header)
        tasks = progress.missing(selection.tasks())
        export_tasks(Setup(data.out, output, order.format, settings), tasks, order.workers, progress.count)
        if sha256_of(data.out / DATASET_JSON) != header["dataset"]["sha256"]:
            raise DatasetError(f"{data.out} was changed during the export. Export it again to another --output")
        counts = write_record(output, header, progress.lines)
        if FAULTS & counts["left_out"].keys():
            log(f"{output.root / NAME} lists the damaged clips; the same command retries them")
        else:
            shutil.rmtree(output.work)
    seconds = time.monotonic() - start
    return Totals(
        str(order.output), order.format, **counts, seconds=round(seconds, 3), clips_per_s=round(progress.clips / seconds, 1)
    )


@dataclass(frozen=True, slots=True)
class _Selection:
    """The selection of clips to export."""

    data: Dataset
    splits: tuple[str, ...]
    where: Any
    limit: int | None
    by_shard: bool

    @classmethod
    def of(cls, data: Dataset, order: ExportOrder) -> "_Selection":
        kind = format_of(order.format)
        splits = order.splits or kind.splits
        conditions = [pc.field("split").isin(list(splits))] if splits else []
        conditions += [parse(order.where)] if order.where is not None else []
        return cls(data, splits, reduce(and_, conditions) if conditions else None, order.limit, kind.by_shard)

    def keys(self) -> pa.Table:
        """The column key of all selected clips. Raises DatasetError."""
        return self.data.index(["key"], self.where)[: self.limit]

    def why_empty(self, order: ExportOrder) -> str:
        """A message on why no clip is selected. Raises DatasetError."""
        splits = sorted(set(self.data.index(["split"])["split"].to_pylist()))
        if not splits:
            return f"{self.data.out} has no clips"
        if self.splits and not set(self.splits) & set(splits):
            return f"the dataset has no --split {either(self.splits)}, only {', '.join(splits)}"
        return f"none matches --where {order.where}" + (f" in {', '.join(self.splits)}" if self.splits else "")

    def tasks(self) -> Iterator[Task]:
        """The selected clips in tasks of a few clips, or of whole shards if the format needs that. Raises DatasetError."""
        rows = (row for batch in self.data.batches(where=self.where) for row in batch.to_pylist())
        of_shard = itemgetter("split", "shard")
        for (split, shard), clips in groupby(islice(rows, self.limit), of_shard):
            tar_path(self.data.out, split, shard)
            every = tuple(clips)
            step = len(every) if self.by_shard else _TASK_CLIPS
            for first in range(0, len(every), step):
                yield Task(split, shard, every[first : first + step], first)


@dataclass(slots=True)
class _Progress:
    """Progress of an export. clips: number exported by this run; lines: the paths
    `ExportDirectory.lines` of all tasks, in order."""

    output: ExportDirectory
    on_progress: Callable[[int], object]
    clips: int = 0
    lines: dict[Path, None] = field(default_factory=dict)

    def missing(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """The tasks that no earlier run has finished without faults. Raises DatasetError."""
        for task in tasks:
            path = self.output.lines(task.split, task.shard, task.first)
            if path in self.lines:
                raise DatasetError(f"the index lists the clips of shard {task.shard} in two places: run dataset.verify")
            self.lines[path] = None
            if path.exists() and not has_faults(path):
                self.on_progress(len(task.rows))
            else:
                yield task

    def count(self, clips: int) -> None:
        self.clips += clips
        self.on_progress(clips)


def _output(data: Dataset, order: ExportOrder) -> ExportDirectory:
    """Where to write. Raises ConfigError: this is inside the dataset."""
    output, out = order.output.resolve(), data.out.resolve()
    if out == output or out in output.parents:
        raise ConfigError(f"--output {order.output} is inside the dataset: choose another directory")
    return ExportDirectory(order.output.absolute())


def _settings(data: Dataset, order: ExportOrder, selection: _Selection) -> Settings:
    """The settings, checked against the format and the dataset. Raises ConfigError."""
    kind, config = format_of(order.format), data.manifest.config
    frames = order.frames or kind.frames[0]
    if frames not in kind.frames:
        raise ConfigError(f"--frames {frames} cannot be used with --format {order.format}, only {either(kind.frames)}")
    if order.crf is not None and not kind.encodes:
        raise ConfigError(f"--crf cannot be used with --format {order.format}, which encodes no video")
    crf, names = DEFAULT_CRF if order.crf is None else order.crf, Names.of(selection.keys())
    settings = Settings(order.size or config.size, frames, crf, names)
    if refusal := kind.refusal(config, settings):
        raise ConfigError(refusal)
    return settings


def _header(data: Dataset, order: ExportOrder, selection: _Selection, settings: Settings) -> dict[str, Any]:
    """The header of export.json: everything that determines the exported bytes."""
    kind: Format = format_of(order.format)
    options = {"split": list(selection.splits), "where": order.where, "limit": order.limit}
    return {
        "format": order.format,
        "version": kind.version,
        "versions": {"motionshards": __version__, **{name: import_module(name).__version__ for name in kind.libraries}},
        "dataset": {"sha256": sha256_of(data.out / DATASET_JSON), "config": data.manifest.config.to_json()},
        "options": {**options, "size": settings.size_px, "frames": settings.frames, "crf": settings.crf},
    }


def _complete(output: ExportDirectory, header: dict[str, Any]) -> dict[str, Any] | None:
    """The counts of this export if it is finished and has no damaged clip, else None.

    Raises:
        ConfigError: the directory contains something other than this export
    """
    for path in (output.root / NAME, output.work / NAME):
        if (found := read_header(path)) is not None:
            check_same_export(found, header, output.root)
            counts: dict[str, Any] = found.get("counts", {})
            return counts if counts and not FAULTS & counts["left_out"].keys() else None
    refuse_foreign_files(output.root, "export")
    return None
