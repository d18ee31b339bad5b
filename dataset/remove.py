"""Takes people, videos or single clips out of a data set, as those who are shown can ask.

    python -m dataset.remove OUT --identity ID | --video ID | --key KEY

Each may be given several times. Shards that hold such clips are rewritten without them, then plan, index, ledger and data card;
every other sample keeps its bytes. A later `dataset.build` on OUT leaves out what was removed. Exit status: 0 all of it is gone,
which was checked, 1 something was not found, or a fault, 2 unusable arguments, 130 interrupted; the same command goes on.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.dataset.verify import Report, verify
from motionshards.pipeline.remove import Taken, Wish, remove
from motionshards.schemas.errors import BuildFailed, ConfigError, DatasetError
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.printable import printable
from motionshards.schemas.removal import KINDS

OK, FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        wishes = [Wish(kind, name) for kind in KINDS for name in getattr(options, kind)]
        _check(options.out, wishes)
        taken = remove(options.out, wishes, datetime.now(UTC).isoformat(timespec="seconds"), _warn)
        return _tell(options, taken, len(wishes))
    except ConfigError as error:
        return end(UNUSABLE, f"error: {error}")
    except (DatasetError, BuildFailed) as error:
        return end(FAILED, f"error: {error}")
    except OSError as error:
        return end(FAILED, f"error: {error.strerror or error}: {error.filename or options.out}. The same command goes on")
    except KeyboardInterrupt:
        return end(INTERRUPTED, "interrupted. The same command goes on")


def _check(out: Path, wishes: Sequence[Wish]) -> None:
    """Raise ConfigError for arguments that mean nothing."""
    try:
        manifest = Manifest.read(out)
    except DatasetError as error:
        raise ConfigError(str(error)) from error
    if not wishes and all(removal.finished for removal in manifest.removals):
        raise ConfigError("nothing is named: --identity, --video or --key")
    if any(not wish.name for wish in wishes):
        raise ConfigError("a name is empty")


def _tell(options: argparse.Namespace, taken: Taken, asked: int) -> int:
    """Check what was rewritten, and say what was done."""
    for wish in taken.missing:
        _warn(f"nothing found of {wish}")
    if len(taken.missing) == asked and not taken.removals:
        return FAILED
    report = verify(options.out, only=taken.shards, say=_warn) if _whole(taken) else None
    show(_as_json(taken, report) if options.json else _as_line(taken, report))
    return FAILED if taken.missing or (report and report.faults) else OK


def _warn(text: str) -> None:
    show(printable(text), sys.stderr)


def _whole(taken: Taken) -> bool:
    return taken.manifest.unfinished is None


def _as_line(taken: Taken, report: Report | None) -> str:
    clips, samples = _sums(taken)
    done = (
        f"removed {clips} clips ({samples} samples) from {len(taken.shards)} shards" if taken.removals else "was removed before"
    )
    if report is None:
        return f"{done}; {taken.manifest.unfinished}"
    counts = taken.manifest.counts
    left = f"{counts['planned']} planned = {counts['kept']} kept + {sum(counts['rejected'].values())} rejected and removed"
    return f"{done}; {left}; checked: {f'{len(report.faults)} faults' if report.faults else 'ok'}"


def _as_json(taken: Taken, report: Report | None) -> str:
    clips, samples = _sums(taken)
    told = {"removed_clips": clips, "removed_samples": samples, "shards": sorted(taken.shards), **taken.manifest.counts}
    missing = [str(wish) for wish in taken.missing]
    return json.dumps({**told, "missing": missing, "ok": None if report is None else not report.faults})


def _sums(taken: Taken) -> tuple[int, int]:
    return sum(removal.clips for removal in taken.removals), sum(removal.samples for removal in taken.removals)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="motionshards remove", description="Take people, videos or clips out of a data set.")
    parser.add_argument("out", type=Path, metavar="OUT", help="the directory of the data set")
    for kind, text in {
        "identity": "all clips of this person",
        "video": "all clips of this video",
        "key": "this clip; of recipe track: all tubes of a planned clip, or the tube of a key with @",
    }.items():
        parser.add_argument(f"--{kind}", action="append", default=[], metavar="KEY" if kind == "key" else "ID", help=text)
    parser.add_argument("--json", action="store_true", help="the last line as JSON")
    return parser
