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
from motionshards.dataset.export.format import FAULTS, Format, Settings, format_of
from motionshards.dataset.export.names import Names
from motionshards.dataset.export.place import Place
from motionshards.dataset.export.pool import export_tasks
from motionshards.dataset.export.record import NAME, has_faults, read_header, refuse_another, write_header, write_record
from motionshards.dataset.export.worker import Setup, Task
from motionshards.dataset.index import Dataset
from motionshards.dataset.query.where import parse
from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.errors import ConfigError, DatasetError, either
from motionshards.schemas.layout import DATASET_JSON, tar_path
from motionshards.schemas.output import only_writer, refuse_strangers

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
    say: Callable[[str], object] = lambda line: None,
    seen: Callable[[int], object] = lambda clips: None,
    begin: Callable[[int], object] = lambda clips: None,
) -> Totals:
    """Export clips of a dataset into the directory `order.output`, or resume an interrupted export there.

    Clips that were damaged in an earlier run are retried.

    Args:
        say: called with messages for the user
        begin: called with the number of selected clips
        seen: called with the number of clips of each finished task, including tasks finished by an earlier run

    Raises:
        ConfigError: an option or the directory cannot be used
        DatasetError: the dataset cannot be read
        BuildFailed: a worker died for a reason other than a clip
    """
    place = _place(data, order)
    chosen = _Chosen.of(data, order)
    settings = _settings(data, order, chosen)
    header = _header(data, order, chosen, settings)
    if counts := _complete(place, header):
        shutil.rmtree(place.work, ignore_errors=True)
        say(f"nothing to do: {order.output} already holds this export")
        return Totals(str(order.output), order.format, **counts)
    begin(clips := len(chosen.keys()))
    if not clips:
        raise ConfigError(f"no clips to export: {chosen.why_none(order)}")
    place.root.mkdir(parents=True, exist_ok=True)
    with only_writer(place.root):
        start, done = time.monotonic(), _Done(place, seen)
        shutil.rmtree(place.temporary, ignore_errors=True)
        write_header(place, header)
        tasks = done.missing(chosen.tasks())
        export_tasks(Setup(data.out, place, order.format, settings), tasks, order.workers, done.count)
        if sha256_of(data.out / DATASET_JSON) != header["dataset"]["sha256"]:
            raise DatasetError(f"{data.out} was changed during the export. Export it again to another --output")
        counts = write_record(place, header, done.lines)
        if FAULTS & counts["left_out"].keys():
            say(f"{place.root / NAME} lists the damaged clips; the same command retries them")
        else:
            shutil.rmtree(place.work)
    seconds = time.monotonic() - start
    return Totals(
        str(order.output), order.format, **counts, seconds=round(seconds, 3), clips_per_s=round(done.clips / seconds, 1)
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The selection of clips to export."""

    data: Dataset
    splits: tuple[str, ...]
    where: Any
    limit: int | None
    by_shard: bool

    @classmethod
    def of(cls, data: Dataset, order: ExportOrder) -> "_Chosen":
        kind = format_of(order.format)
        splits = order.splits or kind.splits
        conditions = [pc.field("split").isin(list(splits))] if splits else []
        conditions += [parse(order.where)] if order.where is not None else []
        return cls(data, splits, reduce(and_, conditions) if conditions else None, order.limit, kind.by_shard)

    def keys(self) -> pa.Table:
        """The column key of all selected clips. Raises DatasetError."""
        return self.data.index(["key"], self.where)[: self.limit]

    def why_none(self, order: ExportOrder) -> str:
        """A message on why no clip is selected. Raises DatasetError."""
        there = sorted(set(self.data.index(["split"])["split"].to_pylist()))
        if not there:
            return f"{self.data.out} has no clips"
        if self.splits and not set(self.splits) & set(there):
            return f"the dataset has no --split {either(self.splits)}, only {', '.join(there)}"
        return f"none matches --where {order.where}" + (f" in {', '.join(self.splits)}" if self.splits else "")

    def tasks(self) -> Iterator[Task]:
        """The selected clips in tasks of a few clips, or of whole shards if the format needs that. Raises DatasetError."""
        rows = (row for batch in self.data.batches(where=self.where) for row in batch.to_pylist())
        place = itemgetter("split", "shard")
        for (split, shard), clips in groupby(islice(rows, self.limit), place):
            tar_path(self.data.out, split, shard)
            every = tuple(clips)
            step = len(every) if self.by_shard else _TASK_CLIPS
            for first in range(0, len(every), step):
                yield Task(split, shard, every[first : first + step], first)


@dataclass(slots=True)
class _Done:
    """Progress of an export. clips: number exported by this run; lines: the files of `Place.lines` of all tasks, in order."""

    place: Place
    seen: Callable[[int], object]
    clips: int = 0
    lines: dict[Path, None] = field(default_factory=dict)

    def missing(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """The tasks that no earlier run has finished without faults. Raises DatasetError."""
        for task in tasks:
            path = self.place.lines(task.split, task.shard, task.first)
            if path in self.lines:
                raise DatasetError(f"the index lists the clips of shard {task.shard} in two places: run dataset.verify")
            self.lines[path] = None
            if path.exists() and not has_faults(path):
                self.seen(len(task.rows))
            else:
                yield task

    def count(self, clips: int) -> None:
        self.clips += clips
        self.seen(clips)


def _place(data: Dataset, order: ExportOrder) -> Place:
    """Where to write. Raises ConfigError: this is inside the dataset."""
    output, out = order.output.resolve(), data.out.resolve()
    if out == output or out in output.parents:
        raise ConfigError(f"--output {order.output} is inside the dataset: choose another directory")
    return Place(order.output.absolute())


def _settings(data: Dataset, order: ExportOrder, chosen: _Chosen) -> Settings:
    """The settings, checked against the format and the dataset. Raises ConfigError."""
    kind, config = format_of(order.format), data.manifest.config
    frames = order.frames or kind.frames[0]
    if frames not in kind.frames:
        raise ConfigError(f"--frames {frames} cannot be used with --format {order.format}, only {either(kind.frames)}")
    if order.crf is not None and not kind.encodes:
        raise ConfigError(f"--crf cannot be used with --format {order.format}, which encodes no video")
    crf, names = DEFAULT_CRF if order.crf is None else order.crf, Names.of(chosen.keys())
    settings = Settings(order.size or config.size, frames, crf, names)
    if refusal := kind.refusal(config, settings):
        raise ConfigError(refusal)
    return settings


def _header(data: Dataset, order: ExportOrder, chosen: _Chosen, settings: Settings) -> dict[str, Any]:
    """The header of export.json: everything that determines the exported bytes."""
    kind: Format = format_of(order.format)
    options = {"split": list(chosen.splits), "where": order.where, "limit": order.limit}
    return {
        "format": order.format,
        "version": kind.version,
        "versions": {"motionshards": __version__, **{name: import_module(name).__version__ for name in kind.libraries}},
        "dataset": {"sha256": sha256_of(data.out / DATASET_JSON), "config": data.manifest.config.to_json()},
        "options": {**options, "size": settings.size_px, "frames": settings.frames, "crf": settings.crf},
    }


def _complete(place: Place, header: dict[str, Any]) -> dict[str, Any] | None:
    """The counts of this export if it is finished and has no damaged clip, else None.

    Raises:
        ConfigError: the directory contains something other than this export
    """
    for path in (place.root / NAME, place.work / NAME):
        if (found := read_header(path)) is not None:
            refuse_another(found, header, place.root)
            counts: dict[str, Any] = found.get("counts", {})
            return counts if counts and not FAULTS & counts["left_out"].keys() else None
    refuse_strangers(place.root, "export")
    return None
