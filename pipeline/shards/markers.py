"""Find out which units are committed, from the markers in the dataset's directory or bucket."""

import functools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from motionshards.schemas.bucket import MAX_CONCURRENT_REQUESTS, Bucket, pull
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import marker_path
from motionshards.schemas.manifest import ShardEntry
from motionshards.schemas.marker import read_entry, read_marker
from motionshards.schemas.records import ShardUnit

_LISTED_EVERY_S = 5.0


class Markers:
    """The markers of a directory, or of a bucket, from which new markers are downloaded to the directory."""

    def __init__(self, out: Path, bucket: Bucket | None = None, addition: int | None = None) -> None:
        self._out, self._bucket, self._addition = out, bucket, addition
        self._listed_at = -_LISTED_EVERY_S

    def left(self, units: Sequence[ShardUnit], *, sure: bool = True) -> list[ShardUnit]:
        """The units without a marker, or whose marker lacks the addition.

        sure: check each unit that is missing from the bucket's listing; otherwise rely on a listing at most a few seconds old
        """
        missing = pending(units, self._out, self._addition)
        if self._bucket is None or not (sure or time.monotonic() - self._listed_at >= _LISTED_EVERY_S):
            return missing
        names = {f"{unit.split}/{unit.name}.parquet" for unit in missing}
        listed = names & set[str]().union(*(self._bucket.names(split) for split in {unit.split for unit in missing}))
        self._listed_at = time.monotonic()
        if sure:
            with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS) as pool:
                unlisted = sorted(names - listed)
                exist = pool.map(self._bucket.exists, unlisted)
                listed |= {name for name, exists in zip(unlisted, exist, strict=True) if exists}
        pull(self._bucket, self._out, sorted(listed))
        return pending(missing, self._out, self._addition)


def read_committed(path: Path) -> tuple[ShardEntry, pa.Table]:
    """Like `read_marker`, but the message about a damaged marker includes the remedy. Raises DatasetError."""
    try:
        return read_marker(path)
    except DatasetError as error:
        raise DatasetError(
            f"{error}; delete it and its tar, run this command again, then dataset.build, which builds that shard again"
        ) from error


def pending(units: Sequence[ShardUnit], out: Path, addition: int | None = None) -> list[ShardUnit]:
    """The units without a marker, or whose marker lacks the addition. Lists each split once instead of checking each unit."""
    present = {split: _names(out / split) for split in {unit.split for unit in units}}
    places = {unit: marker_path(out, unit.split, unit.name) for unit in units}
    missing = {unit for unit, place in places.items() if place.name not in present[unit.split]}
    if addition is None:
        return [unit for unit in units if unit in missing]
    return [unit for unit in units if unit in missing or addition not in _added(places[unit])]


def _added(marker: Path) -> tuple[int, ...]:
    """The additions that rewrote a shard. Called often, so a marker is only read again if the file was replaced."""
    stat = marker.stat()
    return _read_added(marker, stat.st_ino, stat.st_mtime_ns)


@functools.cache
def _read_added(marker: Path, inode: int, written_ns: int) -> tuple[int, ...]:
    return read_entry(marker).added


def _names(directory: Path) -> set[str]:
    with suppress(FileNotFoundError):
        return set(os.listdir(directory))
    return set()
