"""Open a dataset in a directory or at a URL for reading: its manifest, index rows and shards."""

import functools
import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from motionshards.dataset.index import checked_rows
from motionshards.dataset.reading.index_arrays import COLUMNS
from motionshards.dataset.reading.people_table import COLUMNS as PEOPLE_COLUMNS
from motionshards.dataset.reading.people_table import read_people
from motionshards.dataset.storage.remote import Remote, Retry, is_url, shown
from motionshards.dataset.storage.shards import ShardFile, ShardSource
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import DATASET_JSON, INDEX, PEOPLE, PLAN_DIR, WORK_DIR
from motionshards.schemas.manifest import Manifest, ShardEntry
from motionshards.schemas.marker import read_marker
from motionshards.schemas.printable import printable
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import check_columns, completed, open_parquet

logger = logging.getLogger("motionshards")

Stamp = tuple[int, ...] | bytes

_ROWS_AT_A_TIME = 20_000
_FILE_URL = "file://"
_SCHEMA = pa.schema([INDEX_SCHEMA.field(name) for name in COLUMNS])


@dataclass(frozen=True, slots=True)
class Opened:
    """A dataset, or the committed part of an unfinished one.

    root: directory or URL
    remote: whether it is at a URL
    shards: shards by (split, name)
    stamp: changes whenever dataset.json does
    """

    root: str
    remote: bool
    manifest: Manifest
    shards: dict[tuple[str, str], ShardEntry]
    stamp: Stamp
    _markers: tuple[Path, ...]
    _index: bytes | None
    _remote: Remote | None = None

    def rows(self) -> Iterator[pa.Table]:
        """The rows of the index in order, in large tables with the columns of `index_arrays.COLUMNS`.

        Raises:
            DatasetError: they cannot be read
        """
        if self._markers:
            for path in self._markers:
                rows = read_marker(path)[1]
                yield checked_rows(rows.filter(rows["kept"]).select(list(COLUMNS)), path)
            return
        source = Path(self.root) / INDEX if self._index is None else io.BytesIO(self._index)
        try:
            with open_parquet(source) as file:
                check_columns(file.schema_arrow, INDEX)
                for batch in file.iter_batches(_ROWS_AT_A_TIME, columns=list(COLUMNS)):
                    batch.validate(full=True)  # offsets and UTF-8, which the parquet reader does not check
                    yield checked_rows(completed(pa.Table.from_batches([batch]), _SCHEMA), INDEX)
        except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
            raise DatasetError(f"{INDEX} of {shown(self.root)} cannot be read: {error}") from error

    def rows_with_people(self) -> Iterator[pa.Table]:
        """Like `rows`, with the columns of people.parquet. Raises DatasetError: it is missing or outdated."""
        people, row = self._people(), 0
        for table in self.rows():
            mine = people.slice(row, len(table))
            if not mine["key"].equals(table["key"]):
                raise DatasetError(f"{PEOPLE} does not match the index: run dataset.people again")
            row += len(table)
            yield functools.reduce(lambda rows, name: rows.append_column(name, mine[name]), PEOPLE_COLUMNS.names, table)

    def _people(self) -> pa.Table:
        digest = self.manifest.files.get(INDEX, "")
        if self._remote is None:
            return read_people(Path(self.root) / PEOPLE, digest)
        try:
            return read_people(io.BytesIO(self._remote.read_all(PEOPLE)), digest)
        except Unreadable as error:
            raise DatasetError(f"{PEOPLE} of {shown(self.root)} cannot be read: {error.detail}: run dataset.people") from error

    def file(self, split: str, name: str) -> ShardFile:
        """The tar of a shard. Raises DatasetError: dataset.json does not list it."""
        entry = self.shards.get((split, name))
        if entry is None:
            raise DatasetError(
                f"{shown(self.root)}: {DATASET_JSON} does not list the shard {name} of the index: run dataset.verify"
            )
        return ShardFile(f"{split}/{name}.tar", entry.bytes, entry.sha256)

    def shard_source(
        self,
        shards: Iterable[tuple[str, str]],
        *,
        random: bool,
        cache: Path | None = None,
        cache_bytes: int = 0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        storage_options: Mapping[str, Any] | None = None,
    ) -> ShardSource:
        """Where and how to read the tars of these (split, name). Raises DatasetError: dataset.json does not list one."""
        return ShardSource(
            root=self.root,
            shards=tuple(self.file(split, name) for split, name in shards),
            remote=self.remote,
            random=random,
            cache=cache,
            cache_bytes=cache_bytes,
            retry=retry,
            storage_options=storage_options,
        )


def open_source(source: str | Path, retry: Retry, storage_options: Mapping[str, Any] | None = None) -> Opened:
    """Open the dataset in a directory or at a URL; of an unfinished build in a directory, the committed shards.

    Raises:
        DatasetError: there is no dataset, it is being changed, or it cannot be read
    """
    if is_url(str(source)):
        return _open_remote(str(source).rstrip("/"), Remote(str(source), retry, storage_options))
    out = Path(str(source).removeprefix(_FILE_URL))
    stamp = _local_stamp(out)  # read first, so that changes during the following reads are detected later
    manifest = Manifest.read(out)
    if manifest.interrupted:
        raise DatasetError(f"{out}: {manifest.interrupted}")
    if manifest.complete:
        return Opened(str(out), False, manifest, _by_name(manifest.shards), stamp, (), None)
    return _open_unfinished(out, manifest, stamp)


def _open_unfinished(out: Path, manifest: Manifest, stamp: Stamp) -> Opened:
    markers = tuple(path for path in sorted(out.glob("*/*.parquet")) if path.parent.name not in (PLAN_DIR, WORK_DIR))
    entries = tuple(_entry_of(path) for path in markers)
    logger.warning("%s: the build is unfinished; reading its %d committed shards", printable(str(out)), len(entries))
    if not entries:
        raise DatasetError(f"{out}: the build is unfinished, and no shard has been committed yet")
    return Opened(str(out), False, manifest, _by_name(entries), stamp, markers, None)


def _entry_of(marker: Path) -> ShardEntry:
    entry = read_marker(marker)[0]
    if (entry.split, f"{entry.name}.parquet") != marker.parts[-2:]:
        raise DatasetError(f"{marker} contains the marker of a different shard, {entry.split}/{entry.name}")
    return entry


def stored_sizes(source: str | Path) -> tuple[int, ...]:
    """The sizes in pixels at which a dataset stores frames, the dataset's own first. Raises DatasetError."""
    if not is_url(str(source)):
        return Manifest.read(Path(str(source).removeprefix(_FILE_URL))).config.sizes
    with _reachable():
        return Manifest.parse(Remote(str(source), Retry()).read_all(DATASET_JSON), DATASET_JSON).config.sizes


def _open_remote(root: str, remote: Remote) -> Opened:
    with _reachable():
        content = remote.read_all(DATASET_JSON)
        manifest = Manifest.parse(content, DATASET_JSON)
        if manifest.unfinished:
            raise DatasetError(f"{DATASET_JSON} at the URL: {manifest.unfinished}")
        return Opened(root, True, manifest, _by_name(manifest.shards), content, (), remote.read_all(INDEX), remote)


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except Unreadable as error:
        raise DatasetError(f"no readable dataset at the URL: {error.reason}: {error.detail}") from error


def stamp_of(root: str, retry: Retry, storage_options: Mapping[str, Any] | None = None) -> Stamp:
    """The current stamp of a dataset. Raises Unreadable: it is at a URL that cannot be reached."""
    return Remote(root, retry, storage_options).read_all(DATASET_JSON) if is_url(root) else _local_stamp(Path(root))


def _local_stamp(out: Path) -> Stamp:
    try:
        stat = (out / DATASET_JSON).stat()
    except OSError:
        return ()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _by_name(entries: tuple[ShardEntry, ...]) -> dict[tuple[str, str], ShardEntry]:
    return {(entry.split, entry.name): entry for entry in entries}
