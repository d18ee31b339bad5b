"""A finished dataset: the table of its clips, and random access to single clips by byte offset.

    data = Dataset.open("OUT")
    sample = data[0]                        # or data["id00012/21Uxsk56VDQ/00001"]
    sample.frames, sample.landmarks, sample.show()
    table = data.to_pandas()                # row i is data[i]
    large = list(data.samples(pc.field("face_size_px") > 120))

For inspection. For training, use `ClipStream`.
"""

import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, SupportsIndex, TypeVar, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from tqdm import tqdm

from motionshards.dataset.clips.sample import Sample, at_size, naming, sample_of
from motionshards.dataset.plotting.html_table import html_table
from motionshards.dataset.storage.remote import is_url
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import INDEX, smaller_of, suffix_at, tar_path
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.printable import printable
from motionshards.schemas.regular_file import open_regular
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import NEVER_NULL, NEVER_NULL_KEPT, check_columns, open_parquet

if TYPE_CHECKING:
    import pandas

__all__ = ["Dataset", "Sample", "checked_rows", "read_members", "readable"]

_ROWS_AT_A_TIME = 256
_PLACE = ("key", "split", "shard", "members")

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


@dataclass(frozen=True, slots=True, repr=False)
class Dataset:
    """A finished dataset on disk: a sequence of clips in the order of the index; `data[key]` looks a clip up by its key."""

    out: Path
    manifest: Manifest

    @classmethod
    def open(cls, out: str | Path) -> "Dataset":
        """Open the dataset in the directory `out`.

        Raises:
            ConfigError: `out` is no path, or a URL
            DatasetError: there is no dataset, its format version is unknown, or its build is unfinished
        """
        if not isinstance(out, (str, os.PathLike)) or is_url(str(out)):
            raise ConfigError(f"Dataset.open takes the path of a directory, not {out!r}")
        out = Path(out)
        manifest = Manifest.read(out)
        if manifest.unfinished:
            raise DatasetError(f"{out}: {manifest.unfinished}")
        return cls(out, manifest)

    def index(self, columns: Sequence[str] | None = None, where: Any = None) -> pa.Table:
        """Rows of the index, in order.

        columns: names of the columns to read; None for all
        where: pyarrow expression on any columns; None for all rows

        Raises:
            DatasetError: the index cannot be read
        """
        with readable(self.out / INDEX) as path:
            rows = _table(path).to_table(columns=None if columns is None else list(columns), filter=where)
            return checked_rows(rows, path)

    def read(self, row: dict[str, Any], size: int | None = None) -> Sample:
        """Read the clip of a row of the index, and decode its frames.

        row: a row with the columns key, split, shard and members
        size: height and width of the frames, one of the stored sizes; by default the dataset's

        Raises:
            ConfigError: frames of that size are not stored
            DatasetError: the shard is missing, or a member does not match the index
        """
        sample = self._read(row, size)
        _ = sample.frames
        return sample

    def _read(self, row: dict[str, Any], size: int | None = None) -> Sample:
        """Like `read`, without decoding the frames."""
        config = self.manifest.config
        smaller_px = smaller_of(config.sizes, size)
        requested = [member for member in row["members"] if suffix_at(member["suffix"], smaller_px)]
        path = tar_path(self.out, row["split"], row["shard"])
        try:
            with open_regular(path) as stream, naming(f"{path}: {row['key']}"):
                members = read_members(stream, requested)
                read = {name: content for suffix, content in members.items() if (name := suffix_at(suffix, smaller_px))}
                sample = sample_of(row["key"], read, str(path), smaller_px)
                return sample if smaller_px is None else at_size(sample, config.size, smaller_px)
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}") from error

    @overload
    def __getitem__(self, which: SupportsIndex | str) -> Sample: ...
    @overload
    def __getitem__(self, which: slice) -> list[Sample]: ...
    def __getitem__(self, which: SupportsIndex | str | slice) -> Sample | list[Sample]:
        """A clip by its row number or key, or a list of clips for a slice. Frames are decoded on access.

        Raises:
            IndexError: there are fewer clips
            KeyError: no clip has this key
            DatasetError: the index or a shard cannot be read
        """
        if isinstance(which, slice):
            return [self[number] for number in range(*which.indices(len(self)))]
        number = self._number_of(which) if isinstance(which, str) else index(which)
        return self._read(self._row(number))

    def __iter__(self) -> Iterator[Sample]:
        return self.samples()

    def __contains__(self, key: object) -> bool:
        """Whether a clip has this key."""
        try:
            return isinstance(key, str) and self._number_of(key) >= 0
        except KeyError:
            return False

    def _number_of(self, key: str) -> int:
        number: int = pc.index(self.index(["key"])["key"], key).as_py()
        if number < 0:
            raise KeyError(key)
        return number

    def _row(self, number: int) -> dict[str, Any]:
        """The columns of a row that `read` needs; reads only its row group."""
        with readable(self.out / INDEX) as path, open_parquet(path) as file:
            check_columns(file.schema_arrow, str(path))
            clips = file.metadata.num_rows
            if not -clips <= number < clips:
                raise IndexError(f"clip {number} of {clips}")
            rest, group = number % clips, 0
            while rest >= (rows := file.metadata.row_group(group).num_rows):
                rest, group = rest - rows, group + 1
            row = file.read_row_group(group, list(_PLACE)).slice(rest, 1)
            return dict(checked_rows(row, path).to_pylist()[0])

    def to_pandas(self, columns: Sequence[str] | None = None) -> "pandas.DataFrame":
        """The index as a pandas DataFrame; row i is the clip `data[i]`.

        columns: by default all columns with one value per clip that are not empty

        Raises:
            ConfigError: pandas is not installed
            DatasetError: the index cannot be read
        """
        flat = [field.name for field in INDEX_SCHEMA if not pa.types.is_nested(field.type)]
        rows = self.index(flat if columns is None else columns)
        if columns is None:
            rows = rows.select([name for name in flat if rows[name].null_count < len(rows)])
        try:
            table: pandas.DataFrame = rows.to_pandas()
        except ImportError as error:
            raise ConfigError(f"to_pandas() needs {error.name or 'pandas'}: pip install 'motionshards[notebook]'") from error
        return table

    def __repr__(self) -> str:
        """Summary from dataset.json only."""
        return f"Dataset({printable(str(self.out))}: {', '.join(f'{name} {value}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        return html_table(f"Dataset {self.out}", self._facts().items())

    def _facts(self) -> dict[str, str]:
        """Names and values of the summary, as text."""
        config, counts = self.manifest.config, self.manifest.counts
        splits: Counter[str] = Counter()
        for entry in self.manifest.shards:
            splits[entry.split] += entry.clips
        listed = ", ".join(f"{printable(name)} {clips:,}" for name, clips in splits.most_common())
        stored_bytes = sum(entry.bytes for entry in self.manifest.shards)
        facts = {"clips": f"{splits.total():,} ({listed})"}
        facts |= {"identities": f"{counts['identities']:,}"} if "identities" in counts else {}
        facts |= {"stills": f"{config.frames} per clip"} if config.stores_stills else {}
        facts |= {"video": f"{config.fps} fps" + (" with sound" if config.stores_audio else "")} if config.stores_video else {}
        facts |= {"size": " and ".join(f"{size}x{size}" for size in config.sizes) + " px"}
        facts |= {"landmarks": config.landmarks, "action units": config.aus}
        return facts | {"shards": f"{len(self.manifest.shards):,} ({tqdm.format_sizeof(stored_bytes, 'B')})"}

    def samples(self, where: Any = None) -> Iterator[Sample]:
        """Iterate over all clips, or those that `where` (a pyarrow expression) selects, in the order of the index, in constant
        memory."""
        for batch in self.batches(_PLACE, where):
            for row in batch.to_pylist():
                yield self.read(row)

    def batches(self, columns: Sequence[str] | None = None, where: Any = None) -> Iterator[pa.RecordBatch]:
        """The rows of `index` in small batches. Raises DatasetError: the index cannot be read."""
        with readable(self.out / INDEX) as path:
            names = None if columns is None else list(columns)
            for batch in _table(path).to_batches(columns=names, filter=where, batch_size=_ROWS_AT_A_TIME):
                yield checked_rows(batch, path)

    def __len__(self) -> int:
        with readable(self.out / INDEX) as path, open_parquet(path) as file:
            return int(file.metadata.num_rows)


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Turn errors of reading the table at `path` into a DatasetError."""
    try:
        yield path
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {next(iter(str(error).splitlines()), '')}") from error


def checked_rows(rows: Rows, path: str | Path) -> Rows:
    """The rows of an untrusted index, checked. Raises DatasetError."""
    for name in (*NEVER_NULL, *NEVER_NULL_KEPT):
        if name in rows.schema.names and rows[name].null_count:
            raise DatasetError(f"{path}: {name} is missing in some rows: run dataset.verify")
    if "n_frames" in rows.schema.names and (pc.min(rows["n_frames"]).as_py() or 1) < 1:
        raise DatasetError(f"{path}: n_frames is negative in some rows: run dataset.verify")
    return rows


def _table(path: Path) -> pyarrow.dataset.Dataset:
    """The index at `path`; columns missing in its format version are null. Raises DatasetError."""
    with open_parquet(path) as file:
        check_columns(file.schema_arrow, str(path))
    return pyarrow.dataset.dataset(path, schema=INDEX_SCHEMA)


def read_members(stream: BinaryIO, members: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """The members of a sample by suffix, read from a tar at their offsets.

    Raises:
        ValueError: the CRC-32 of a member does not match the index
    """
    return {member["suffix"]: _read_member(stream, member) for member in members}


def _read_member(stream: BinaryIO, member: dict[str, Any]) -> bytes:
    offset, size = member["offset"], member["size"]
    if not 0 <= offset <= offset + size <= os.fstat(stream.fileno()).st_size or size < 0:
        raise ValueError(f"{member['suffix']} is cut short")
    stream.seek(offset)
    content = stream.read(size)
    if len(content) != member["size"]:
        raise ValueError(f"{member['suffix']} is cut short")
    if zlib.crc32(content) != member["crc32"]:
        raise ValueError(f"{member['suffix']} is damaged: its crc32 does not match the index")
    return content
