"""Remove identities, videos or single clips from a dataset (takedown requests).

    python -m dataset.remove OUT --identity ID | --video ID | --key KEY [--dry-run]

Names of one kind per run; options may be repeated. Rewrites the shards that contain such clips, then plan, index, ledger and
data card, and verifies the result; all other samples keep their bytes, and later builds skip what was removed. Exit status: 0
removed and verified; 1 a name was not found, or an error; 2 invalid arguments; 130 interrupted: the same command finishes the
removal.
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

import pyarrow as pa

from motionshards.dataset.commandline import FAILED, OK, LocalDatasetArgument, OutputOptions, command, show, stderr_log
from motionshards.dataset.query.similar import similar
from motionshards.dataset.report.formatting import plural
from motionshards.dataset.verify import Report, verify
from motionshards.pipeline.planning.plan import plan_files, read_plan
from motionshards.pipeline.remove import RemovalRequest, RemovalResult, find_matches, remove
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import REPORT
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.printable import printable
from motionshards.schemas.removal import KINDS, is_placeholder

_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class RemoveOptions(OutputOptions, LocalDatasetArgument):
    """Options of `motionshards remove`."""

    identity: tuple[str, ...] = ()
    """Remove all clips of this identity; may be repeated, but not combined with --video or --key."""
    video: tuple[str, ...] = ()
    """Remove all clips of this video, whatever their identity; may be repeated, but not combined."""
    key: tuple[str, ...] = ()
    """Remove this clip; may be repeated, but not combined. With recipes that track faces: all its tubes, or one with an @."""
    dry_run: bool = False
    """List what would be removed, and change nothing."""


@command("remove", after=lambda options: "Run the same command again to finish", unusable=(ConfigError,))
def main(options: RemoveOptions) -> int:
    """Remove identities, videos or clips from a dataset (takedown requests)."""
    requests = [RemovalRequest(kind, name) for kind in KINDS for name in getattr(options, kind)]
    manifest = _check(options, requests)
    if options.dry_run:
        return _list(options, manifest, requests)
    has_report = (options.data / REPORT).exists()
    result = remove(options.data, requests, datetime.now(UTC).isoformat(timespec="seconds"), _warn)
    if has_report and result.removals:
        stderr_log(options)(
            f"deleted {REPORT}, since it shows removed clips; `motionshards report {options.data}` writes a new one"
        )
    return _report(options, result, len(requests))


def _check(options: RemoveOptions, requests: Sequence[RemovalRequest]) -> Manifest:
    """The manifest. Raises ConfigError: there is nothing to remove, names of several kinds, or a name is empty."""
    try:
        manifest = Manifest.read(options.data)
    except DatasetError as error:
        raise ConfigError(str(error)) from error
    if not requests and (options.dry_run or all(removal.finished for removal in manifest.removals)):
        raise ConfigError("nothing to remove: pass --identity, --video or --key")
    if any(not request.name for request in requests):
        raise ConfigError("--identity, --video and --key must not be empty")
    if len(kinds := list(dict.fromkeys(f"--{request.kind}" for request in requests))) > 1:
        raise ConfigError(
            f"{' and '.join(kinds)} cannot be combined, as each removes all that it names, not what they have in common. "
            "Run the command once for each, or name single clips with --key"
        )
    return manifest


def _list(options: RemoveOptions, manifest: Manifest, requests: Sequence[RemovalRequest]) -> int:
    """Print what the requests match; returns the exit status."""
    matches = find_matches(options.data, manifest, requests)
    missing = [match.request for match in matches if not match.names]
    _warn_of_missing(options.data, missing)
    if len(missing) == len(requests):
        return FAILED
    keys = sorted({key for match in matches for key in match.keys})
    clips, samples = sum(match.clips for match in matches), sum(match.samples for match in matches)
    if options.json:
        found = {"clips": clips, "samples": samples, "keys": keys, "missing": [str(request) for request in missing]}
        show(json.dumps({"dry_run": True, **found}))
        return FAILED if missing else OK
    if not options.quiet:
        more = [f"… and {len(keys) - _LISTED:,} more (--json lists all)"] if len(keys) > _LISTED else []
        show("\n".join([*keys[:_LISTED], *more]))
    show(f"{f'would remove {_count(clips, samples)}' if keys else 'already removed'}; nothing was changed")
    return FAILED if missing else OK


def _warn_of_missing(out: Path, missing: Sequence[RemovalRequest]) -> None:
    for request in missing:
        names = {name for path in plan_files(out) for name in read_plan(path, [request.kind])[request.kind].unique().to_pylist()}
        known = sorted(name for name in names if not is_placeholder(name))
        near = ", ".join(similar(request.name, pa.chunked_array([known], pa.string())))
        _warn(f"{request} not found" + (f"; similar: {near}" if near else ""))


def _report(options: RemoveOptions, result: RemovalResult, requests: int) -> int:
    """Verify the rewritten shards and print the summary; returns the exit status."""
    _warn_of_missing(options.data, result.missing)
    if len(result.missing) == requests and not result.removals:
        return FAILED
    report = verify(options.data, only=result.shards, log=_warn) if _whole(result) else None
    show(_as_json(result, report) if options.json else _as_line(result, report))
    return FAILED if result.missing or (report and report.faults) else OK


def _warn(text: str) -> None:
    show(printable(text), sys.stderr)


def _whole(result: RemovalResult) -> bool:
    return result.manifest.unfinished is None


def _as_line(result: RemovalResult, report: Report | None) -> str:
    clips, samples = _sums(result)
    shards = plural(len(result.shards), "shard")
    done = f"removed {_count(clips, samples)} from {shards}" if result.removals else "already removed"
    if report is None:
        return f"{done}; {result.manifest.unfinished}"
    counts = result.manifest.counts
    removed = counts["rejected"].get("removed", 0)
    rejected = sum(counts["rejected"].values()) - removed
    left = f"{counts['planned']} planned = {counts['kept']} kept + {rejected} rejected + {removed} removed"
    return f"{done}; {left}; checked: {f'{len(report.faults)} faults' if report.faults else 'ok'}"


def _as_json(result: RemovalResult, report: Report | None) -> str:
    clips, samples = _sums(result)
    removed = {"removed_clips": clips, "removed_samples": samples, "shards": sorted(result.shards), **result.manifest.counts}
    missing = [str(request) for request in result.missing]
    return json.dumps({**removed, "missing": missing, "ok": None if report is None else not report.faults})


def _count(clips: int, samples: int) -> str:
    """Samples are counted where a planned clip has none or several tubes."""
    if not clips:
        return plural(samples, "sample")
    return plural(clips, "clip") + (f" ({plural(samples, 'sample')})" if samples != clips else "")


def _sums(result: RemovalResult) -> tuple[int, int]:
    return sum(removal.clips for removal in result.removals), sum(removal.samples for removal in result.removals)
