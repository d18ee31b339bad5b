"""Write a self-contained HTML report on a dataset.

    python -m dataset.report OUT [--output FILE] [--count N] [--input DIR] [--where CONDITION] [--seed S]

Prints the path of the file, its size and the elapsed time. Exit status: 0 done, 1 the report could not be written, 2 invalid
arguments or no finished dataset, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt
from cyclopts.validators import Number

from motionshards.dataset.commandline import LocalDatasetArgument, OutputOptions, command, show
from motionshards.dataset.index import Dataset
from motionshards.dataset.report.content import gather
from motionshards.dataset.report.formatting import size
from motionshards.dataset.report.page import page
from motionshards.schemas.atomic import beside
from motionshards.schemas.bucket import is_bucket
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import REPORT

_MOST_SAMPLES = 200  # a page of about 5 MB


@dataclass(frozen=True, kw_only=True)
class ReportOptions(OutputOptions, LocalDatasetArgument):
    """Options of `motionshards report`."""

    output: Path | None = None
    """Path of the report; by default report.html in the dataset."""
    count: Annotated[int, Parameter(validator=Number(gte=0, lte=_MOST_SAMPLES))] = 24
    """Number of kept clips to show, 0 to 200."""
    videos: Annotated[int, Parameter(validator=Number(gte=0, lte=_MOST_SAMPLES))] = 24
    """Number of these clips to embed as video, if video is stored; at most 0.4 MB each."""
    input: str | None = None
    """Location of the source videos; by default as recorded in dataset.json."""
    where: str | None = None
    """Show only clips that satisfy this condition, such as "@latentsync and blur > 50", and the yield after each part of it."""
    seed: NonNegativeInt = 0
    """Seed of random choices."""


@command("report", renamed={"--samples": "--count"})
def main(options: ReportOptions) -> None:
    """Write a self-contained HTML report on a dataset."""
    start = time.monotonic()
    target = _target(options)
    data = Dataset.open(options.data)
    numbers = {"samples": options.count, "videos": options.videos, "seed": options.seed}
    content = gather(data, where=options.where, source=options.input or "", **numbers)
    html = page(content).encode()
    with beside(target) as temporary:
        temporary.write_bytes(html)
    done = {"output": str(target), "bytes": len(html), "seconds": round(time.monotonic() - start, 3)}
    show(json.dumps(done) if options.json else f"{target}: {size(len(html))}, {done['seconds']:.1f} s")


def _target(options: ReportOptions) -> Path:
    """Path of the report. Raises ConfigError: it cannot be written there, or `--input` is not a directory."""
    if options.input and not is_bucket(options.input) and not Path(options.input).is_dir():
        raise ConfigError(f"--input {options.input} is not a directory")
    target = options.output or options.data / REPORT
    if target.is_dir() or (options.output and not target.parent.is_dir()):
        raise ConfigError(f"--output {target} {'is a directory' if target.is_dir() else 'is in a directory that does not exist'}")
    return target
