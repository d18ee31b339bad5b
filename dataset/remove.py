"""Remove identities, videos or single clips from a dataset (takedown requests).

    python -m dataset.remove OUT --identity ID | --video ID | --key KEY

Each option may be repeated. Rewrites the shards that contain such clips, then plan, index, ledger and data card, and verifies the
result; all other samples keep their bytes, and later builds skip what was removed. Exit status: 0 removed and verified; 1 a name
was not found, or an error; 2 invalid arguments; 130 interrupted: the same command finishes the removal.
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

from motionshards.dataset.commandline import FAILED, OK, LocalDatasetArgument, OutputOptions, command, show
from motionshards.dataset.verify import Report, verify
from motionshards.pipeline.remove import RemovalRequest, RemovalResult, remove
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.printable import printable
from motionshards.schemas.removal import KINDS


@dataclass(frozen=True, kw_only=True)
class RemoveOptions(OutputOptions, LocalDatasetArgument):
    """Options of `motionshards remove`."""

    identity: tuple[str, ...] = ()
    """Remove all clips of this identity; may be repeated."""
    video: tuple[str, ...] = ()
    """Remove all clips of this video; may be repeated."""
    key: tuple[str, ...] = ()
    """Remove this clip; may be repeated. With recipes that track faces: all tubes of a clip, or one tube if the key has an @."""


@command("remove", after=lambda options: "Run the same command again to finish", unusable=(ConfigError,))
def main(options: RemoveOptions) -> int:
    """Remove identities, videos or clips from a dataset (takedown requests)."""
    wishes = [RemovalRequest(kind, name) for kind in KINDS for name in getattr(options, kind)]
    _check(options.data, wishes)
    taken = remove(options.data, wishes, datetime.now(UTC).isoformat(timespec="seconds"), _warn)
    return _report(options, taken, len(wishes))


def _check(out: Path, wishes: Sequence[RemovalRequest]) -> None:
    """Raises ConfigError: there is nothing to remove, or a name is empty."""
    try:
        manifest = Manifest.read(out)
    except DatasetError as error:
        raise ConfigError(str(error)) from error
    if not wishes and all(removal.finished for removal in manifest.removals):
        raise ConfigError("nothing to remove: pass --identity, --video or --key")
    if any(not wish.name for wish in wishes):
        raise ConfigError("--identity, --video and --key must not be empty")


def _report(options: RemoveOptions, taken: RemovalResult, requests: int) -> int:
    """Verify the rewritten shards and print the summary; returns the exit status."""
    for wish in taken.missing:
        _warn(f"{wish} not found")
    if len(taken.missing) == requests and not taken.removals:
        return FAILED
    report = verify(options.data, only=taken.shards, log=_warn) if _whole(taken) else None
    show(_as_json(taken, report) if options.json else _as_line(taken, report))
    return FAILED if taken.missing or (report and report.faults) else OK


def _warn(text: str) -> None:
    show(printable(text), sys.stderr)


def _whole(taken: RemovalResult) -> bool:
    return taken.manifest.unfinished is None


def _as_line(taken: RemovalResult, report: Report | None) -> str:
    clips, samples = _sums(taken)
    done = f"removed {clips} clips ({samples} samples) from {len(taken.shards)} shards" if taken.removals else "already removed"
    if report is None:
        return f"{done}; {taken.manifest.unfinished}"
    counts = taken.manifest.counts
    left = f"{counts['planned']} planned = {counts['kept']} kept + {sum(counts['rejected'].values())} rejected and removed"
    return f"{done}; {left}; checked: {f'{len(report.faults)} faults' if report.faults else 'ok'}"


def _as_json(taken: RemovalResult, report: Report | None) -> str:
    clips, samples = _sums(taken)
    removed = {"removed_clips": clips, "removed_samples": samples, "shards": sorted(taken.shards), **taken.manifest.counts}
    missing = [str(wish) for wish in taken.missing]
    return json.dumps({**removed, "missing": missing, "ok": None if report is None else not report.faults})


def _sums(taken: RemovalResult) -> tuple[int, int]:
    return sum(removal.clips for removal in taken.removals), sum(removal.samples for removal in taken.removals)
