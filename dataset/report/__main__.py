"""Shows what is in a data set on one HTML page that needs nothing else.

    python -m dataset.report OUT [--output FILE] [--samples N] [--input DIR] [--where CONDITION] [--seed S] [--quiet]

Prints the file, its size and how long it took. Exit status: 0 done, 1 the page could not be written, 2 unusable arguments or no
finished data set, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.dataset.index import Dataset
from motionshards.dataset.query.where import parse
from motionshards.dataset.report.content import gather
from motionshards.dataset.report.formatting import size
from motionshards.dataset.report.page import page
from motionshards.schemas.atomic import beside
from motionshards.schemas.bucket import is_bucket
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import REPORT

OK, STOPPED = 0, 1
_MOST_SAMPLES = 200  # a page of some 5 MB


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not 0 <= options.samples <= _MOST_SAMPLES:
        parser.error(f"--samples is {options.samples}, must be 0 to {_MOST_SAMPLES}")
    if options.seed < 0:
        parser.error(f"--seed is {options.seed}, must not be negative")
    if options.input and not is_bucket(options.input) and not Path(options.input).is_dir():
        parser.error(f"--input {options.input} is not a directory")
    if is_bucket(options.out):
        parser.error(f"{options.out} is an object store; a report is made of a directory")
    out = Path(options.out.removeprefix("file://"))
    target = options.output or out / REPORT
    if target.is_dir() or (options.output and not target.parent.is_dir()):
        parser.error(f"--output {target} {'is a directory' if target.is_dir() else 'lies in no directory'}")
    try:
        return _report(out, target, options)
    except (ConfigError, DatasetError) as error:
        return end(UNUSABLE, f"error: {error}")
    except OSError as error:
        return end(STOPPED, f"error: {target}: {error.strerror or error}")
    except KeyboardInterrupt:
        return end(INTERRUPTED, "interrupted")


def _report(out: Path, target: Path, options: argparse.Namespace) -> int:
    start = time.monotonic()
    data = Dataset.open(out)
    condition = None if options.where is None else parse(options.where)
    where, source = options.where or "", "" if options.input is None else options.input
    content = gather(data, samples=options.samples, seed=options.seed, where=where, condition=condition, source=source)
    html = page(content).encode()
    with beside(target) as temporary:
        temporary.write_bytes(html)
    if not options.quiet:
        show(f"{target}: {size(len(html))}, {time.monotonic() - start:.1f} s")
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="motionshards report", description="Show what is in a data set on one HTML page.")
    parser.add_argument("out", metavar="OUT", help="the directory of a finished data set")
    parser.add_argument("--output", metavar="FILE", type=Path, help="the page (default: OUT/report.html)")
    parser.add_argument("--samples", metavar="N", type=int, default=24, help="kept clips that are shown (default: %(default)s)")
    parser.add_argument("--input", metavar="DIR", help="where the source videos are (default: as dataset.json tells)")
    parser.add_argument("--where", metavar="CONDITION", help='only clips for which this holds, such as "face_size_px > 100"')
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of random choices (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    return parser
