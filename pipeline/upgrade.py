"""Upgrade a dataset of format version 1 before a command writes to it: add digests to markers, then to dataset.json.

Samples, rows and file names do not change. dataset.json is replaced last; until then the dataset is a valid one of version 1, and
an interrupted upgrade is repeated.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from motionshards.pipeline.finalize import finalize
from motionshards.pipeline.planning import plan
from motionshards.pipeline.shards.markers import pending, read_committed
from motionshards.pipeline.shards.rewrite import settle
from motionshards.schemas.atomic import replacing
from motionshards.schemas.layout import marker_path
from motionshards.schemas.manifest import FORMAT_VERSION, Manifest
from motionshards.schemas.marker import write_marker
from motionshards.schemas.records import ShardUnit


def upgraded(out: Path, manifest: Manifest, log: Callable[[str], object]) -> Manifest:
    """Upgrade the dataset if needed; returns its manifest in the newest version.

    Raises:
        DatasetError, BuildFailed: a marker is damaged
    """
    before, manifest = manifest, upgrade_markers(out, manifest, log)
    if manifest is before or manifest.unfinished or pending(plan.units(out), out):
        return manifest
    return finalize(out, manifest)


def upgrade_markers(out: Path, manifest: Manifest, log: Callable[[str], object]) -> Manifest:
    """Like `upgraded`, but without writing dataset.json, for callers that do so themselves."""
    if manifest.format_version == FORMAT_VERSION:
        return manifest
    log(f"upgrading format version {manifest.format_version} to {FORMAT_VERSION}")
    units = plan.units(out)
    for unit in set(units) - set(pending(units, out)):
        _upgrade_marker(out, unit, manifest)
    return replace(manifest, format_version=FORMAT_VERSION)


def _upgrade_marker(out: Path, unit: ShardUnit, manifest: Manifest) -> None:
    settle(out, unit.split, unit.name)
    path = marker_path(out, unit.split, unit.name)
    entry, rows = read_committed(path)
    if entry.marker_sha256 is not None:
        return
    # An unfinished addition has changed the config of this shard, but not yet that of dataset.json.
    ahead = manifest.addition is not None and manifest.addition.number in entry.added
    with replacing(out, path) as temporary:
        write_marker(temporary, replace(entry, made_by=None if ahead else manifest.made_by), rows)
