"""Remove people, videos or clips from a dataset: from shards, plan, index, ledger and card, without leaving their names.

The order of steps makes it safe to kill a removal: record the request in dataset.json (by digest), delete the index, rewrite the
shards, then the plan. The plan comes last since it determines which shards are affected; every step is idempotent.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from motionshards.pipeline.finalize import finalize
from motionshards.pipeline.planning import plan
from motionshards.pipeline.planning.hygiene import names_pattern, without_names
from motionshards.pipeline.planning.intact import plan_problem
from motionshards.pipeline.shards.markers import pending, read_committed
from motionshards.pipeline.shards.remove_clips import affected_units, remove_from_plan, remove_from_shard
from motionshards.pipeline.upgrade import upgrade_markers
from motionshards.schemas.atomic import sync
from motionshards.schemas.errors import BuildFailed, DatasetError
from motionshards.schemas.layout import (
    CARD,
    CROISSANT,
    DATASET_JSON,
    INDEX,
    PEOPLE,
    REJECTIONS,
    REPORT,
    WORK_DIR,
    marker_path,
    planned_key,
)
from motionshards.schemas.manifest import Manifest, damage
from motionshards.schemas.output import only_writer
from motionshards.schemas.records import ShardUnit
from motionshards.schemas.removal import Removal, digest, is_nameless, nameless_archive
from motionshards.schemas.tables import MARKER, PLAN, planned_keys_of

_WHO = ["key", "identity", "video"]


@dataclass(frozen=True, slots=True)
class RemovalRequest:
    """A request to remove the clips whose column `kind` (identity, video or key) is `name`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class RemovalResult:
    """The result of a removal.

    manifest: manifest of the dataset afterwards
    removals: the removals that this run has finished
    shards: names of the affected shards
    missing: requests that match nothing, now or in an earlier removal
    """

    manifest: Manifest
    removals: tuple[Removal, ...]
    shards: frozenset[str]
    missing: tuple[RemovalRequest, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """The matches of a request.

    request: the request
    clips, samples: number of planned clips, and of stored samples, that no earlier request of the same command matches
    keys: the keys of all matching clips, or of their tubes
    names: all names that identify them; empty if nothing matches
    """

    request: RemovalRequest
    clips: int
    samples: int
    keys: tuple[str, ...]
    names: frozenset[str]


def remove(
    out: Path, requests: Sequence[RemovalRequest], at: str, log: Callable[[str], object] = lambda text: None
) -> RemovalResult:
    """Remove everything that matches `requests`, and finish an interrupted removal. Without matches, nothing is changed.

    at: time to record, UTC, ISO 8601
    log: receives messages for the user, one line each

    Raises:
        ConfigError: a build is running
        DatasetError, BuildFailed: there is no dataset, or a required file is damaged; the message includes the remedy, after
            which the same call resumes
    """
    with only_writer(out):
        manifest = Manifest.read(out)
        matches = find_matches(out, manifest, requests)
        missing = tuple(match.request for match in matches if not match.names)
        if any(match.names for match in matches) or not all(removal.finished for removal in manifest.removals):
            manifest = upgrade_markers(out, manifest, log)
        manifest = _intend(manifest, [match for match in matches if match.names], at)
        removals = tuple(removal for removal in manifest.removals if not removal.finished)
        if not removals:
            return RemovalResult(manifest, (), frozenset(), missing)
        if problem := damage((out / DATASET_JSON).read_bytes()):
            log(f"{DATASET_JSON} {problem}; its counts, shards and digests are regenerated, compare everything else with a copy")
        shutil.rmtree(out / WORK_DIR, ignore_errors=True)  # files of a killed build may contain removed clips
        manifest.write(out)
        affected = _remove_matching(out, manifest, removals)
        manifest = _finish(out, manifest)
        shutil.rmtree(out / WORK_DIR, ignore_errors=True)
        return RemovalResult(manifest, removals, frozenset(unit.name for unit in affected), missing)


def find_matches(out: Path, manifest: Manifest, requests: Sequence[RemovalRequest]) -> list[Match]:
    """The matches of the requests that no earlier removal has satisfied. Changes nothing. Raises DatasetError."""
    if problem := plan_problem(out, manifest):
        raise DatasetError(f"{problem}; then run this command again")
    known = {(removal.kind, removal.digest) for removal in manifest.removals}
    new = [request for request in dict.fromkeys(requests) if (request.kind, digest(request.kind, request.name)) not in known]
    return _matches(out, new) if new else []


def _matches(out: Path, requests: list[RemovalRequest]) -> list[Match]:
    files = [plan.read_plan(path, _WHO) for path in plan.plan_files(out)]
    planned = pa.concat_tables([PLAN.empty_table().select(_WHO), *files])
    masks = [_named(planned, request) for request in requests]
    tubes = any(planned_key(request.name) != request.name for request in requests if request.kind == "key")
    built = _built(out, np.any(masks, axis=0) if not tubes else np.ones(len(planned), np.bool_))
    counted, counted_rows, matches = np.zeros(len(planned), np.bool_), np.zeros(len(built), np.bool_), []
    for request, mask in zip(requests, masks, strict=True):
        rows = _named(built, request)
        clips = planned["key"].filter(pa.array(mask & ~counted)).unique()
        samples = rows & built["kept"].to_numpy() & ~counted_rows
        found = planned.filter(pa.array(mask)), built.filter(pa.array(rows))
        matches.append(Match(request, len(clips), int(samples.sum()), _keys(*found), _names(*found, request)))
        counted, counted_rows = counted | mask, counted_rows | rows
    return matches


def _named(rows: pa.Table, request: RemovalRequest) -> NDArray[np.bool_]:
    """Mask, bool [n], of the rows that a request matches; the key of a planned clip matches all its tubes."""
    found = pc.equal(rows[request.kind], request.name)
    if request.kind == "key":
        found = pc.or_(found, pc.equal(planned_keys_of(rows["key"]), request.name))
    mask: NDArray[np.bool_] = found.to_numpy()
    return mask


def _keys(planned: pa.Table, built: pa.Table) -> tuple[str, ...]:
    """The keys of built clips or tubes, and of planned clips that are not built."""
    keys = set(built["key"].to_pylist())
    return tuple(sorted(keys | (set(planned["key"].to_pylist()) - {planned_key(key) for key in keys})))


def _names(planned: pa.Table, built: pa.Table, request: RemovalRequest) -> frozenset[str]:
    """All names that identify the matching clips: their keys, and for a person also videos and identities."""
    columns = ["key", "video", "identity"] if request.kind == "identity" else ["key"]
    names = {name for column in columns for rows in (planned, built) for name in rows[column].to_pylist()}
    return frozenset(names | {request.name}) if names else frozenset()


def _built(out: Path, mask: NDArray[np.bool_]) -> pa.Table:
    """Marker rows of all units with a planned clip in `mask`, a mask over the rows of all plan files."""
    starts = np.cumsum([0, *(len(plan.read_plan(path, ["unit"])) for path in plan.plan_files(out))])
    first = {path.name: int(start) for path, start in zip(plan.plan_files(out), starts[:-1], strict=True)}
    rows = [MARKER.empty_table()]
    for unit in plan.units(out):
        path, start = marker_path(out, unit.split, unit.name), first[unit.plan]
        if mask[start + unit.start : start + unit.stop].any() and path.exists():
            rows.append(read_committed(path)[1])
    built = pa.concat_tables(rows)
    return built.filter(pc.fill_null(pc.not_equal(built["reason"], "removed"), True)).select([*_WHO, "kept"])


def _intend(manifest: Manifest, matches: list[Match], at: str) -> Manifest:
    """The manifest that records the removals and no longer describes the contents."""
    if not matches:
        return manifest
    new = [
        Removal(match.request.kind, digest(match.request.kind, match.request.name), at, match.clips, match.samples)
        for match in matches
    ]
    names = frozenset().union(*(match.names for match in matches))
    named = names_pattern(names)
    return replace(
        manifest,
        complete=False,
        counts={},
        shards=(),
        files={},
        input="" if named.search(manifest.input) else manifest.input,
        aus_from="" if named.search(manifest.aus_from) else manifest.aus_from,
        archives=_without_names(manifest.archives, named),
        hygiene=without_names(manifest.hygiene, names),
        removals=(*manifest.removals, *new),
    )


def _without_names(archives: dict[str, dict[str, int]], named: re.Pattern[str]) -> dict[str, dict[str, int]]:
    """The archives, with digests in place of names that identify removed people."""
    identifying = {uri for uri, parts in archives.items() if any(map(named.search, (uri, *parts)))}
    return {
        nameless_archive(uri) if uri in identifying else uri: {
            nameless_archive(part) if uri in identifying else part: size for part, size in parts.items()
        }
        for uri, parts in archives.items()
    }


def _remove_matching(out: Path, manifest: Manifest, removals: tuple[Removal, ...]) -> list[ShardUnit]:
    for name in (INDEX, REJECTIONS, PEOPLE, REPORT, CARD, CROISSANT):  # the report contains faces and names
        (out / name).unlink(missing_ok=True)
    sync(out)
    affected = affected_units(out, manifest, removals)
    for unit in affected:
        remove_from_shard(out, unit, manifest, removals)
    for path in plan.plan_files(out):
        remove_from_plan(out, path, manifest, removals)
    return affected


def _finish(out: Path, manifest: Manifest) -> Manifest:
    """Write index, ledger and card of the remaining clips, unless a build or an addition is unfinished.

    Raises:
        BuildFailed: an unaffected shard is damaged; the removal itself is complete
    """
    used = plan.archives(out)
    manifest = replace(
        manifest,
        removals=tuple(replace(removal, finished=True) for removal in manifest.removals),
        archives={uri: parts for uri, parts in manifest.archives.items() if uri in used or not is_nameless(uri)},
        files=plan.digests(out),
    )
    if manifest.addition or pending(plan.units(out), out):
        manifest.write(out)
        return manifest
    try:
        return finalize(out, manifest)
    except BuildFailed as error:
        manifest.write(out)
        raise BuildFailed(f"the removal is complete, but the dataset is not: {error}") from error
