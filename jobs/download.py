"""Fetch the videos that a corpus lists, into the layout that `dataset.build` reads.

    python -m jobs.download --source taichi --metadata taichi-metadata.csv --output DIR
    python -m dataset.build --source taichi --metadata taichi-metadata.csv --input DIR --output SHARDS

DIR/videos/<video>.<suffix>   whole videos; a part of one is in DIR/.work, and is continued
DIR/download.parquet          what became of each listed video, see `jobs.download_report`

Exit status: 0 done, 1 not one video is there or the run stopped, 2 unusable arguments, 130 interrupted. What is fetched stays,
and the same command goes on from there.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.jobs.download_list import SOURCES, build_command
from motionshards.jobs.download_order import DownloadOrder, Manners, Totals
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import SPLITS
from motionshards.schemas.printable import printable

OK, STOPPED = 0, 1
_GOES_ON = "What is fetched stays; the same command goes on from there"
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        from motionshards.jobs.download_run import download
    except ModuleNotFoundError as error:
        if error.name != "yt_dlp":
            raise
        return end(UNUSABLE, "error: yt-dlp is not installed; pip install 'motionshards[download]', or yt-dlp alone")
    say = (lambda text: None) if options.quiet else (lambda text: show(printable(text), sys.stderr))
    try:
        order = _understand(options)
        totals = download(order, say, random.Random(), time.sleep)
    except ConfigError as error:
        return end(UNUSABLE, f"error: {error}")
    except OSError as error:
        return end(STOPPED, f"error: {error.strerror or error}: {error.filename or options.output}. {_GOES_ON}")
    except KeyboardInterrupt:
        return end(INTERRUPTED, f"interrupted. {_GOES_ON}")
    show(as_json(totals, order) if options.json else as_line(totals, order))
    if totals.stopped:
        return end(STOPPED, f"error: {totals.stopped}. {_GOES_ON}")
    return OK if totals.counts["available"] else STOPPED


def as_line(totals: Totals, order: DownloadOrder) -> str:
    """The totals for people, and what to call next."""
    parts = " + ".join(f"{count} {status}" for status, count in totals.counts.items() if count or status == "available")
    asked = (
        f"asked for {totals.asked} in {totals.seconds:.0f} s, {totals.bytes / 1e6:.1f} MB" if totals.asked else "nothing asked"
    )
    build = f"; build with: {build_command(order)}" if totals.counts["available"] else ""
    return f"{sum(totals.counts.values())} listed = {parts}; {asked}{build}"


def as_json(totals: Totals, order: DownloadOrder) -> str:
    """The totals for programs, one JSON object."""
    report = {
        "listed": sum(totals.counts.values()),
        **totals.counts,
        "asked": totals.asked,
        "bytes": totals.bytes,
        "seconds": round(totals.seconds, 3),
        "stopped": totals.stopped,
        "left_out": totals.left_out,
        "output": str(order.out),
        "build": build_command(order),
    }
    return json.dumps(report)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="motionshards download",
        description="Fetch the videos that a corpus lists, one after the other, with yt-dlp.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--source", required=True, choices=SOURCES, help="the corpus")
    parser.add_argument(
        "--metadata",
        type=Path,
        required=True,
        help="a csv as FOMM's authors write it, a list of URLs (fashion), or the directory of these or of txt/ (VoxCeleb)",
    )
    parser.add_argument("--output", type=Path, required=True, help="where videos/ and download.parquet go")
    which = parser.add_argument_group("which videos are asked for now")
    which.add_argument("--split", action="append", choices=SPLITS, help="only this split (may be given twice)")
    which.add_argument("--limit", type=_count, help="at most so many videos, a random choice that grows with the limit")
    which.add_argument(
        "--again",
        action="append",
        choices=("dead", "private"),
        default=[],
        help="ask once more for videos that an earlier run found so (blocked and failed ones always are)",
    )
    what = parser.add_argument_group(
        "what is fetched: one file a video, the picture without the sound where there is such a file"
    )
    what.add_argument(
        "--max-height",
        type=_count,
        default=Manners.max_height_px,
        help="the best up to so many pixels (the shorter side); where all are larger, the smallest",
    )
    what.add_argument("--url-template", help="where videos are, with {id} in it (default: YouTube, or the URLs of the list)")
    what.add_argument("--cookies", type=Path, help="a cookies.txt for yt-dlp, which also updates it")
    how = parser.add_argument_group("how the server is treated")
    how.add_argument("--pause", type=_seconds, default=Manners.pause_s, help="mean seconds between two videos")
    how.add_argument("--rate-limit", type=_rate, default="4M", help="bytes a second, with K, M or G; 0 for no limit")
    how.add_argument("--retries", type=_count_or_none, default=Manners.retries, help="further tries after what may pass")
    how.add_argument(
        "--give-up",
        type=_count,
        default=Manners.give_up,
        help="stop after being refused or not getting through so often in a row",
    )
    how.add_argument("--quiet", action="store_true", help="only the last line")
    how.add_argument("--json", action="store_true", help="the last line as JSON")
    return parser


def _understand(options: argparse.Namespace) -> DownloadOrder:
    manners = Manners(
        pause_s=options.pause,
        retries=options.retries,
        give_up=options.give_up,
        rate_limit_bytes_s=options.rate_limit,
        max_height_px=options.max_height,
        cookies=options.cookies,
    )
    return DownloadOrder(
        source=options.source,
        metadata=options.metadata,
        out=options.output,
        manners=manners,
        splits=frozenset(options.split or SPLITS),
        limit=options.limit,
        again=frozenset(options.again),
        url_template=options.url_template,
    )


def _count(text: str) -> int:
    return _number(text, 1)


def _count_or_none(text: str) -> int:
    return _number(text, 0)


def _number(text: str, least: int) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be a whole number from {least}")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"is {text!r}, must be seconds")
    return float(text)


def _rate(text: str) -> int:
    """Bytes a second of `4M`, `500K` or `1000000`."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d+)?)([KMG]?)", text.upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be bytes a second such as 4M")
    return int(float(match[1]) * _UNITS[match[2]])
