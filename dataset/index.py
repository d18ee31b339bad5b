"""A finished data set as a table of its clips, and single clips by the byte offsets that the table holds.

    data = Dataset.open(Path("OUT"))
    rows = data.index(["key", "split", "shard", "members"], where=pc.field("face_size_px") > 120)
    sample = data.read(rows.slice(0, 1).to_pylist()[0])

For looking up and checking. Training reads whole shards in order.
"""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from numpy.typing import NDArray

from motionshards.dataset.storage.remote import is_url
from motionshards.dataset.video import Sound, Video
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import (
    AUS,
    AUS_SEQUENCE,
    IDENTITY,
    INDEX,
    LANDMARK_SCORES,
    LANDMARKS,
    META,
    POINT_SCORES,
    POINTS,
    VIDEO,
    is_main_frame,
    smaller_of,
    suffix_at,
    tar_path,
)
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.moving import scaled_px
from motionshards.schemas.regular_file import open_regular
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import NEVER_NULL, NEVER_NULL_KEPT, check_columns, open_parquet
from motionshards.transforms.extract.encode import decode_frames

_ROWS_AT_A_TIME = 256
_PLACE = ("key", "split", "shard", "members")

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip.

    frames: uint8 [N,H,W,3], RGB, in time order: the stills or, in a dataset without stills, the measured frames of the video
    landmarks: float32 [N,68,2], x y in crop pixels, NaN where no face was found; None with `--landmarks none`
    landmark_scores: float32 [N,68], 0 to 1; None with `--landmarks none`
    meta: who the clip is, and lists of N for time, place and quality; `boxes_px`, `content_px` and `source_to_crop` refer to
        pixels of `frames`
    aus: float32 [N,17], intensities of `schemas.action_units.INTENSITIES`, 0 to 5, NaN rows where meta["au_valid"] is false;
        None with `--aus none`
    embedding: float32 [128], mean face descriptor, NaN where no face was found; None without `--identity-embedding`
    aus_sequence: float32 [F,17], action units of all frames of the clip; meta["au_sequence_row"] says which are stored, and
        meta["au_sequence_pts_s"] when each is shown; None without `--aus-frames all`
    video: continuous video; None with `--store stills`
    audio: its sound; None where there is none
    """

    key: str
    frames: NDArray[np.uint8] = field(repr=False)
    landmarks: NDArray[np.float32] | None = field(repr=False)
    landmark_scores: NDArray[np.float32] | None = field(repr=False)
    meta: dict[str, Any] = field(repr=False)
    aus: NDArray[np.float32] | None = field(default=None, repr=False)
    embedding: NDArray[np.float32] | None = field(default=None, repr=False)
    aus_sequence: NDArray[np.float32] | None = field(default=None, repr=False)
    video: Video | None = None
    audio: Sound | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A finished data set on disk. Its length is the number of clips."""

    out: Path
    manifest: Manifest

    @classmethod
    def open(cls, out: str | Path) -> "Dataset":
        """The data set in the directory `out`.

        Raises:
            ConfigError: `out` is neither a path nor a string, or a URL
            DatasetError: there is none, it is of another format, or its build is unfinished
        """
        if not isinstance(out, (str, os.PathLike)) or is_url(str(out)):
            raise ConfigError(f"Dataset.open takes the path of a directory, not {out!r}")
        out = Path(out)
        manifest = Manifest.read(out)
        if manifest.unfinished:
            raise DatasetError(f"{out}: {manifest.unfinished}")
        return cls(out, manifest)

    def index(self, columns: Sequence[str] | None = None, where: Any = None) -> pa.Table:
        """Rows of the index in its order, all columns or those given. `where` is a pyarrow expression on any columns.

        Raises:
            DatasetError: the index cannot be read
        """
        with readable(self.out / INDEX) as path:
            rows = _table(path).to_table(columns=None if columns is None else list(columns), filter=where)
            return checked_rows(rows, path)

    def read(self, row: dict[str, Any], size: int | None = None) -> Sample:
        """The clip of a row of the index, which needs the columns key, split, shard and members.

        size: height and width of the frames, one of the stored sizes; by default the dataset's

        Raises:
            ConfigError: frames of that size are not stored
            DatasetError: the shard is absent, or a member is not what the index says
        """
        config = self.manifest.config
        smaller_px = smaller_of(config.sizes, size)
        wanted = [member for member in row["members"] if suffix_at(member["suffix"], smaller_px)]
        path = tar_path(self.out, row["split"], row["shard"])
        try:
            with open_regular(path) as stream:
                members = read_members(stream, wanted)
            read = {name: content for suffix, content in members.items() if (name := suffix_at(suffix, smaller_px))}
            sample = _sample(row["key"], read, smaller_px)
            return sample if smaller_px is None else _at_size(sample, config.size, smaller_px)
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise DatasetError(f"{path}: {row['key']}: {error}") from error

    def samples(self, where: Any = None) -> Iterator[Sample]:
        """All clips, or those that `where` selects, in the order of the index; memory does not grow with their number."""
        for batch in self.batches(_PLACE, where):
            for row in batch.to_pylist():
                yield self.read(row)

    def batches(self, columns: Sequence[str] | None = None, where: Any = None) -> Iterator[pa.RecordBatch]:
        """The rows of `index` a few at a time. Raises DatasetError: the index cannot be read."""
        with readable(self.out / INDEX) as path:
            names = None if columns is None else list(columns)
            for batch in _table(path).to_batches(columns=names, filter=where, batch_size=_ROWS_AT_A_TIME):
                yield checked_rows(batch, path)

    def __len__(self) -> int:
        with readable(self.out / INDEX) as path, open_parquet(path) as file:
            return int(file.metadata.num_rows)


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Failures of reading the table at `path` become a DatasetError."""
    try:
        yield path
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {next(iter(str(error).splitlines()), '')}") from error


def checked_rows(rows: Rows, path: str | Path) -> Rows:
    """Rows of an index that anybody may have written. Raises DatasetError."""
    for name in (*NEVER_NULL, *NEVER_NULL_KEPT):
        if name in rows.schema.names and rows[name].null_count:
            raise DatasetError(f"{path}: {name} is missing in some rows: run dataset.verify")
    if "n_frames" in rows.schema.names and (pc.min(rows["n_frames"]).as_py() or 1) < 1:
        raise DatasetError(f"{path}: n_frames is negative in some rows: run dataset.verify")
    return rows


def _table(path: Path) -> pyarrow.dataset.Dataset:
    """The index at `path`; columns that its version did not have are null. Raises DatasetError."""
    with open_parquet(path) as file:
        check_columns(file.schema_arrow, str(path))
    return pyarrow.dataset.dataset(path, schema=INDEX_SCHEMA)


def read_members(stream: BinaryIO, members: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """The members of a sample by suffix, read from a tar at their offsets.

    Raises:
        ValueError: the bytes there have another CRC-32 than the index says
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
        raise ValueError(f"{member['suffix']} is damaged: its crc32 is not that of the index")
    return content


def _at_size(sample: Sample, main_px: int, size_px: int) -> Sample:
    """A sample with frames of another size than that in whose pixels its landmarks and meta are stored."""
    share = size_px / main_px
    points, meta = sample.landmarks, {**sample.meta, **_lists_at_size(sample.meta, share)}
    if VIDEO in meta:
        meta[VIDEO] = {**meta[VIDEO], **_lists_at_size(meta[VIDEO], share)}
    return replace(sample, meta=meta, landmarks=None if points is None else scaled_px(points, main_px, size_px))


def _lists_at_size(described: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The lists of a description that are about pixels of frames, None where a value is unknown."""
    shift = (share - 1) / 2  # pixel centers are whole numbers; ends of content are edges
    lists: dict[str, Callable[[Any], list[Any]]] = {
        "content_px": lambda box: [edge * share for edge in box],
        "boxes_px": lambda box: [value if value is None else value * share + shift for value in box],
        "source_to_crop": lambda rows: [[x * share, y * share, offset * share + shift] for x, y, offset in rows],
    }
    return {name: [scale(one) for one in described[name]] for name, scale in lists.items() if name in described}


def _sample(key: str, members: dict[str, bytes], smaller_px: int | None = None) -> Sample:
    if META not in members:
        raise ValueError(f"{META} is missing")
    jpegs = [content for suffix, content in members.items() if is_main_frame(suffix)]
    arrays = decode_arrays(members, len(jpegs) or None)
    video = Video.of(members, arrays, smaller_px)
    points, scores = (LANDMARKS, LANDMARK_SCORES) if jpegs or video is None else (POINTS, POINT_SCORES)
    return Sample(
        key,
        decode_frames(jpegs) if jpegs or video is None else video.read(range(0, len(video), video.every)),
        landmarks=arrays.get(_stem(points)),
        landmark_scores=arrays.get(_stem(scores)),
        meta=arrays[_stem(META)],
        aus=arrays.get(_stem(AUS)),
        embedding=arrays.get(_stem(IDENTITY)),
        aus_sequence=arrays.get(_stem(AUS_SEQUENCE)),
        video=video,
        audio=Sound.of(members, arrays),
    )


def _stem(suffix: str) -> str:
    return suffix.rpartition(".")[0]
