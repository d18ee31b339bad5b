"""Which units are committed: their markers tell, in the dataset's directory or in the bucket that it is built into."""

import functools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from motionshards.schemas.bucket import AT_ONCE, Bucket, pull
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import marker_path
from motionshards.schemas.manifest import ShardEntry
from motionshards.schemas.marker import read_entry, read_marker
from motionshards.schemas.records import ShardUnit

_LISTED_EVERY_S = 5.0


class Markers:
    """Which units are committed, in a directory or a bucket, whose markers are copied to the directory."""

    def __init__(self, out: Path, bucket: Bucket | None = None, addition: int | None = None) -> None:
        self._out, self._bucket, self._addition = out, bucket, addition
        self._listed_at = -_LISTED_EVERY_S

    def left(self, units: Sequence[ShardUnit], *, sure: bool = True) -> list[ShardUnit]:
        """The units that have no marker, or one without the addition.

        sure: each is asked for that a bucket's listing lacks; else the listing will do, and one of a few seconds ago
        """
        missing = pending(units, self._out, self._addition)
        if self._bucket is None or not (sure or time.monotonic() - self._listed_at >= _LISTED_EVERY_S):
            return missing
        names = {f"{unit.split}/{unit.name}.parquet" for unit in missing}
        listed = names & set[str]().union(*(self._bucket.names(split) for split in {unit.split for unit in missing}))
        self._listed_at = time.monotonic()
        if sure:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                asked = sorted(names - listed)
                listed |= {name for name, there in zip(asked, pool.map(self._bucket.exists, asked), strict=True) if there}
        pull(self._bucket, self._out, sorted(listed))
        return pending(missing, self._out, self._addition)


def read_committed(path: Path) -> tuple[ShardEntry, pa.Table]:
    """As `read_marker`; where the marker is damaged the message says what to do about it. Raises DatasetError."""
    try:
        return read_marker(path)
    except DatasetError as error:
        raise DatasetError(
            f"{error}; delete it and the tar beside it and run this command again; the build command builds that shard again"
        ) from error


def pending(units: Sequence[ShardUnit], out: Path, addition: int | None = None) -> list[ShardUnit]:
    """The units that have no marker (one listing a split, not one look-up a unit), or one without this addition."""
    present = {split: _names(out / split) for split in {unit.split for unit in units}}
    places = {unit: marker_path(out, unit.split, unit.name) for unit in units}
    missing = {unit for unit, place in places.items() if place.name not in present[unit.split]}
    if addition is None:
        return [unit for unit in units if unit in missing]
    return [unit for unit in units if unit in missing or addition not in _added(places[unit])]


def _added(marker: Path) -> tuple[int, ...]:
    """The additions that rewrote a shard. This is asked often, so a marker is read again only when it is another file."""
    stat = marker.stat()
    return _read_added(marker, stat.st_ino, stat.st_mtime_ns)


@functools.cache
def _read_added(marker: Path, inode: int, written_ns: int) -> tuple[int, ...]:
    return read_entry(marker).added


def _names(directory: Path) -> set[str]:
    with suppress(FileNotFoundError):
        return set(os.listdir(directory))
    return set()
