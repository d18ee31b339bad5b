"""Exports of a dataset: shard by shard, in several processes, resumable."""

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
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import DATASET_JSON, tar_path
from motionshards.schemas.output import only_writer, refuse_strangers

DEFAULT_CRF = 18
# Of a shard's 256: the workers of a many-core machine finish together, also where there are only a few shards.
_TASK_CLIPS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOrder:
    """What to export, and how. None means the default of the format or of the dataset.

    splits: () for the format's default
    limit: export the first so many clips
    workers: processes; changes no byte
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
    """What an export holds. `clips` were chosen, of which `written` have files; `left_out` counts the others by reason.

    files: files and folders, as export.json lists them
    seconds, clips_per_s: of this run
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
    """Export clips of a dataset into the directory `order.output`, or finish what an interrupted run has begun there.

    Clips that were damaged in an earlier run are tried again.

    Args:
        say: called with a line that users may want to know
        begin: called with the number of chosen clips
        seen: called with the number of clips of each task that is done, also of those that an earlier run has done

    Raises:
        ConfigError: an option, or the directory, cannot be used
        DatasetError: the dataset cannot be read
        BuildFailed: a worker died, and not of a clip
    """
    place = _place(data, order)
    chosen = _Chosen.of(data, order)
    settings = _settings(data, order, chosen)
    header = _header(data, order, chosen, settings)
    if counts := _complete(place, header):
        shutil.rmtree(place.work, ignore_errors=True)
        say(f"nothing to do: {order.output} holds this export")
        return Totals(str(order.output), order.format, **counts)
    begin(clips := len(chosen.keys()))
    if not clips:
        raise ConfigError(f"no clip is chosen: {chosen.why_none(order)}")
    place.root.mkdir(parents=True, exist_ok=True)
    with only_writer(place.root):
        start, done = time.monotonic(), _Done(place, seen)
        shutil.rmtree(place.temporary, ignore_errors=True)
        write_header(place, header)
        tasks = done.missing(chosen.tasks())
        export_tasks(Setup(data.out, place, order.format, settings), tasks, order.workers, done.count)
        if sha256_of(data.out / DATASET_JSON) != header["dataset"]["sha256"]:
            raise DatasetError(f"{data.out} was changed during the export: export it to another --output")
        counts = write_record(place, header, done.lines)
        if FAULTS & counts["left_out"].keys():
            say(f"{place.root / NAME} lists what is damaged; the same command tries these clips again")
        else:
            shutil.rmtree(place.work)
    seconds = time.monotonic() - start
    return Totals(
        str(order.output), order.format, **counts, seconds=round(seconds, 3), clips_per_s=round(done.clips / seconds, 1)
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The clips to export."""

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
        """The column key of all of them. Raises DatasetError."""
        return self.data.index(["key"], self.where)[: self.limit]

    def why_none(self, order: ExportOrder) -> str:
        """Why there are none, in words. Raises DatasetError."""
        there = sorted(set(self.data.index(["split"])["split"].to_pylist()))
        if not there:
            return f"{self.data.out} has no clips"
        if self.splits and not set(self.splits) & set(there):
            return f"there is none of --split {' or '.join(self.splits)}, but of {', '.join(there)}"
        return f"none matches --where {order.where}" + (f" in {', '.join(self.splits)}" if self.splits else "")

    def tasks(self) -> Iterator[Task]:
        """The chosen clips, a few of a shard at a time or, where the format has a file per shard, all. Raises DatasetError."""
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
    """What is exported. clips: by this run; lines: the files that list the clips of each task, in order"""

    place: Place
    seen: Callable[[int], object]
    clips: int = 0
    lines: dict[Path, None] = field(default_factory=dict)

    def missing(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """The tasks that no earlier run has done without faults. Raises DatasetError."""
        for task in tasks:
            path = self.place.lines(task.split, task.shard, task.first)
            if path in self.lines:
                raise DatasetError(f"the index lists clips of the shard {task.shard} in two places: run dataset.verify")
            self.lines[path] = None
            if path.exists() and not has_faults(path):
                self.seen(len(task.rows))
            else:
                yield task

    def count(self, clips: int) -> None:
        self.clips += clips
        self.seen(clips)


def _place(data: Dataset, order: ExportOrder) -> Place:
    """Where to write. Raises ConfigError: in the dataset."""
    output, out = order.output.resolve(), data.out.resolve()
    if out == output or out in output.parents:
        raise ConfigError(f"--output {order.output} is in the dataset: choose another directory")
    return Place(order.output.absolute())


def _settings(data: Dataset, order: ExportOrder, chosen: _Chosen) -> Settings:
    """The settings, checked against format and dataset. Raises ConfigError."""
    kind, config = format_of(order.format), data.manifest.config
    frames = order.frames or kind.frames[0]
    if frames not in kind.frames:
        raise ConfigError(f"--frames {frames} is not for {order.format}, which takes {' or '.join(kind.frames)}")
    if order.crf is not None and not kind.encodes:
        raise ConfigError(f"--crf is not for {order.format}, which encodes no video")
    crf, names = DEFAULT_CRF if order.crf is None else order.crf, Names.of(chosen.keys())
    settings = Settings(order.size or config.size, frames, crf, names)
    if refusal := kind.refusal(config, settings):
        raise ConfigError(refusal)
    return settings


def _header(data: Dataset, order: ExportOrder, chosen: _Chosen, settings: Settings) -> dict[str, Any]:
    """What export.json says about the export: all that decides its bytes."""
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
    """The counts of the finished export that is there, None where a clip of it is damaged.

    Raises:
        ConfigError: there is something else than this export
    """
    for path in (place.root / NAME, place.work / NAME):
        if (found := read_header(path)) is not None:
            refuse_another(found, header, place.root)
            counts: dict[str, Any] = found.get("counts", {})
            return counts if counts and not FAULTS & counts["left_out"].keys() else None
    refuse_strangers(place.root, "export")
    return None
