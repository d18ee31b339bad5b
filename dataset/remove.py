"""Remove identities, videos or single clips from a dataset, as the people who are shown may ask.

    python -m dataset.remove OUT --identity ID | --video ID | --key KEY

Each may be repeated. Shards that hold such clips are rewritten without them, then plan, index, ledger and data card; every other
sample keeps its bytes, and a later `dataset.build` leaves out what was removed. Exit status: 0 everything is removed, which was
verified; 1 something was not found, or a fault; 2 unusable arguments; 130 interrupted: the same command finishes the removal.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from motionshards.dataset.commandline import FAILED, OK, OfLocalDataset, Reporting, command, show
from motionshards.dataset.verify import Report, verify
from motionshards.pipeline.remove import Taken, Wish, remove
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.printable import printable
from motionshards.schemas.removal import KINDS


@dataclass(frozen=True, kw_only=True)
class RemoveOptions(Reporting, OfLocalDataset):
    """Options of `motionshards remove`. Each of the three names may be repeated."""

    identity: tuple[str, ...] = ()
    """All clips of this identity."""
    video: tuple[str, ...] = ()
    """All clips of this video."""
    key: tuple[str, ...] = ()
    """This clip. Recipes that track faces: all tubes of a planned clip, or with @ one tube."""


@command("remove", after=lambda options: "Run the same command again to finish", unusable=(ConfigError,))
def main(options: RemoveOptions) -> int:
    """Remove identities, videos or clips from a dataset (takedown requests)."""
    wishes = [Wish(kind, name) for kind in KINDS for name in getattr(options, kind)]
    _check(options.data, wishes)
    taken = remove(options.data, wishes, datetime.now(UTC).isoformat(timespec="seconds"), _warn)
    return _report(options, taken, len(wishes))


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


def _report(options: RemoveOptions, taken: Taken, asked: int) -> int:
    """Verify the rewritten shards, and print what was done."""
    for wish in taken.missing:
        _warn(f"nothing found of {wish}")
    if len(taken.missing) == asked and not taken.removals:
        return FAILED
    report = verify(options.data, only=taken.shards, say=_warn) if _whole(taken) else None
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
