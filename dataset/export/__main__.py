"""Export clips of a finished dataset in the file layout that other training code reads.

    python -m dataset.export OUT --format frames --output DIR [--split SPLIT ...] [--where CONDITION] [--size PX] [--limit N]

docs/exports.md describes the formats. The same command resumes an interrupted export. DIR/export.json records the settings of the
export and the outcome of each clip. Exit status: 0 done; 1 clips are damaged, nothing was written, or an error; 2 invalid
arguments or dataset; 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import PositiveInt
from cyclopts.validators import Number

from motionshards.dataset.commandline import (
    COMPUTATION,
    FAILED,
    OK,
    LocalDatasetArgument,
    OutputOptions,
    choice,
    command,
    stderr_log,
)
from motionshards.dataset.export.format import FORMATS
from motionshards.dataset.export.run import ExportOrder, export
from motionshards.dataset.index import Dataset
from motionshards.schemas.config import MAX_SIZE_PX
from motionshards.schemas.layout import SPLITS

_CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, kw_only=True)
class ExportOptions(OutputOptions, LocalDatasetArgument):
    """Options of `motionshards export`."""

    format: Annotated[str, choice(FORMATS)]
    """The file layout to write, see docs/exports.md."""
    output: Path
    """The directory to write to: new, empty, or that of an interrupted export with the same options, which is then resumed."""
    split: tuple[Annotated[str, choice(SPLITS)], ...] = ()
    """Export only this split; may be repeated. The default depends on the format."""
    where: str | None = None
    """Export only clips that satisfy this condition, such as "@latentsync and blur > 50"."""
    size: Annotated[int | None, Parameter(validator=Number(gte=16, lte=MAX_SIZE_PX))] = None
    """Height and width of the exported frames, in pixels; by default as stored."""
    frames: Literal["mp4", "png", "jpg"] | None = None
    """File type of the frames; the default depends on the format."""
    crf: Annotated[int | None, Parameter(validator=Number(gte=0, lte=51))] = None
    """Quality of re-encoded video, as x264's constant rate factor; by default 18."""
    limit: PositiveInt | None = None
    """Export only this many clips, the first in the index."""
    workers: Annotated[PositiveInt, Parameter(group=COMPUTATION)] = _CORES
    """Number of processes; by default one per core. Does not change the exported bytes."""


@command("export", after=lambda options: "The same command resumes")
def main(options: ExportOptions) -> int:
    """Export clips of a dataset in the file layout that other training code reads."""
    names = ("output", "format", "where", "size", "frames", "crf", "limit", "workers")
    order = ExportOrder(splits=tuple(dict.fromkeys(options.split)), **{name: getattr(options, name) for name in names})
    data = Dataset.open(options.data)
    with options.bar("clip") as bar:
        totals = export(data, order, stderr_log(options), bar.update, bar.reset)
    options.print_result(totals)
    return FAILED if totals.faulty else OK
