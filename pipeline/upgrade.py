"""A data set of format version 1 brought to the newest, before a command writes to it: markers gain digests, then dataset.json.

Samples, rows and names of files stay. Until dataset.json is replaced, last, the data set is one of version 1 that every reader
takes, and a run that was stopped is repeated.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline import plan
from pipeline.finalize import finalize
from pipeline.markers import pending
from pipeline.rewrite import settle
from schemas.atomic import replacing
from schemas.layout import marker_path
from schemas.manifest import FORMAT_VERSION, Manifest
from schemas.marker import read_marker, write_marker
from schemas.records import ShardUnit


def upgraded(out: Path, manifest: Manifest, say: Callable[[str], object]) -> Manifest:
    """The manifest of the data set in the newest version; the one that was given where it has that already.

    Raises:
        DatasetError: a marker is damaged
    """
    if manifest.format_version == FORMAT_VERSION:
        return manifest
    say(f"upgrading format version {manifest.format_version} to {FORMAT_VERSION}")
    units = plan.units(out)
    left = pending(units, out)
    for unit in set(units) - set(left):
        _upgrade_marker(out, unit, manifest)
    manifest = replace(manifest, format_version=FORMAT_VERSION)
    return finalize(out, manifest) if manifest.unfinished is None and not left else manifest


def _upgrade_marker(out: Path, unit: ShardUnit, manifest: Manifest) -> None:
    settle(out, unit.split, unit.name)
    path = marker_path(out, unit.split, unit.name)
    entry, rows = read_marker(path)
    if entry.marker_sha256 is not None:
        return
    # An addition that was begun has changed the config of this shard, and not yet the one of dataset.json.
    ahead = manifest.addition is not None and manifest.addition.number in entry.added
    with replacing(out, path) as temporary:
        write_marker(temporary, replace(entry, made_by=None if ahead else manifest.made_by), rows)
