"""Fetch the videos that a corpus lists, into the layout that `dataset.build` reads.

    python -m jobs.download --source taichi --metadata taichi-metadata.csv --output DIR
    python -m dataset.build --source taichi --metadata taichi-metadata.csv --input DIR --output SHARDS

DIR/videos/<video>.<suffix>   whole videos; a partial one is in DIR/.work, and is resumed
DIR/download.parquet          the status of each listed video, see `jobs.download_report`

Exit status: 0 done, 1 no video is available or the run stopped, 2 invalid arguments, 130 interrupted. Fetched videos are kept;
the same command resumes.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import json
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.types import NonNegativeInt, PositiveInt
from cyclopts.validators import Number

from motionshards.dataset.commandline import FAILED, OK, OutputOptions, choice, command, end, read_by, show, stderr_log
from motionshards.jobs.download_list import SOURCES, build_command
from motionshards.jobs.download_order import DownloadOrder, FetchSettings, Totals
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import SPLITS

_RESUMES = "Fetched videos are kept; the same command resumes"
_SELECTION, _CONTENT, _SERVER = Group("Selection", sort_key=1), Group("Content", sort_key=2), Group("Server load", sort_key=3)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def _rate(text: str) -> int:
    """Parse bytes per second: `4M`, `500K` or `1000000`."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d+)?)([KMG]?)", text.upper())
    if match is None:
        raise ValueError(f"{text!r} must be bytes per second, such as 4M")
    return int(float(match[1]) * _UNITS[match[2]])


def _shown_rate(rate: int) -> str:
    return f"{rate >> 20}M"


@dataclass(frozen=True, kw_only=True)
class DownloadOptions(OutputOptions):
    """Options of `motionshards download`."""

    source: Annotated[str, choice(SOURCES)]
    """The corpus."""
    metadata: Path
    """A csv file in the format of FOMM's authors, a list of URLs (fashion), or the directory of the lists, csv or txt/."""
    output: Path
    """Directory for videos/ and download.parquet."""
    split: Annotated[tuple[str, ...], choice(SPLITS), Parameter(group=_SELECTION)] = ()
    """Only videos of this split; repeatable."""
    limit: Annotated[PositiveInt | None, Parameter(group=_SELECTION)] = None
    """Fetch at most this number of videos, a random sample; a larger limit contains the sample of a smaller one."""
    retry: Annotated[tuple[str, ...], choice(("dead", "private", "silent")), Parameter(group=_SELECTION)] = ()
    """Also request videos that an earlier run found dead or private, or fetched without sound (silent); repeatable. Blocked and
    failed ones are always requested."""
    max_height: Annotated[PositiveInt, Parameter(group=_CONTENT)] = FetchSettings.max_height_px
    """Fetch the best format whose shorter side has at most this number of pixels, else the smallest."""
    no_audio: Annotated[bool, Parameter(group=_CONTENT)] = False
    """Fetch the videos without sound, which takes less space."""
    url_template: Annotated[str | None, Parameter(group=_CONTENT)] = None
    """URL of a mirror that contains {id}; by default YouTube, or the URLs of the list."""
    cookies: Annotated[Path | None, Parameter(group=_CONTENT)] = None
    """Cookies for yt-dlp in Netscape format (cookies.txt); yt-dlp also updates the file."""
    pause_s: Annotated[float, Parameter(group=_SERVER, validator=Number(gte=0, lt=1e6))] = FetchSettings.pause_s
    """Mean pause between two videos, seconds."""
    rate_limit: Annotated[int, read_by(_rate, "BYTES", group=_SERVER, show_default=_shown_rate)] = (
        FetchSettings.rate_limit_bytes_s
    )
    """Bytes per second, with K, M or G; 0 for no limit."""
    retries: Annotated[NonNegativeInt, Parameter(group=_SERVER)] = FetchSettings.retries
    """Further attempts after temporary errors."""
    give_up: Annotated[PositiveInt, Parameter(group=_SERVER)] = FetchSettings.give_up
    """Stop after this number of consecutive refusals or connection failures."""

    def order(self) -> DownloadOrder:
        """Convert the options to the argument of `download_run.download`. Raises ConfigError if they cannot be used."""
        settings = FetchSettings(
            pause_s=self.pause_s,
            retries=self.retries,
            give_up=self.give_up,
            rate_limit_bytes_s=self.rate_limit,
            max_height_px=self.max_height,
            audio=not self.no_audio,
            cookies=self.cookies,
        )
        return DownloadOrder(
            source=self.source,
            metadata=self.metadata,
            out=self.output,
            settings=settings,
            splits=frozenset(self.split or SPLITS),
            limit=self.limit,
            retry=frozenset(self.retry),
            url_template=self.url_template,
        )


@command("download", after=lambda options: _RESUMES, renamed={"--again": "--retry"})
def main(options: DownloadOptions) -> int:
    """Fetch the videos that a corpus lists, one after the other, with yt-dlp."""
    try:
        from motionshards.jobs.download_run import download
    except ModuleNotFoundError as error:
        if error.name != "yt_dlp":
            raise
        raise ConfigError("yt-dlp is not installed; pip install 'motionshards[download]', or yt-dlp alone") from error
    order = options.order()
    totals = download(order, stderr_log(options), random.Random(), time.sleep)
    show(as_json(totals, order) if options.json else as_line(totals, order))
    if totals.stopped:
        return end(FAILED, f"error: {totals.stopped}. {_RESUMES}")
    return OK if totals.counts["available"] else FAILED


def as_line(totals: Totals, order: DownloadOrder) -> str:
    """Format the totals, and the command to run next."""
    parts = " + ".join(f"{count} {status}" for status, count in totals.counts.items() if count or status == "available")
    requested = (
        f"requested {totals.requested} in {totals.seconds:.0f} s, {totals.bytes / 1e6:.1f} MB"
        if totals.requested
        else "none requested"
    )
    build = f"; build with: {build_command(order)}" if totals.counts["available"] else ""
    return f"{sum(totals.counts.values())} listed = {parts}; {requested}{build}"


def as_json(totals: Totals, order: DownloadOrder) -> str:
    """Format the totals as a JSON object."""
    report = {
        "listed": sum(totals.counts.values()),
        **totals.counts,
        "asked": totals.requested,
        "bytes": totals.bytes,
        "seconds": round(totals.seconds, 3),
        "stopped": totals.stopped,
        "left_out": totals.left_out,
        "output": str(order.out),
        "build": build_command(order),
    }
    return json.dumps(report)
