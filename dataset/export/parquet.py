"""The format `parquet`: `DIR/data/<split>-<NNNNNN>.parquet`, a file per shard and a row per clip, for Hugging Face `datasets`.

Stored files are copied into columns of type Video, Audio and Image; the metadata of each file records these features.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from motionshards.dataset.export.clip import StoredClip
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.format import ExportedFiles, Settings, Write
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import either
from motionshards.schemas.layout import SOUND, VIDEO, frame_suffix
from motionshards.schemas.moving import Smaller, scaled_px

_MOST_GROUP_BYTES = 32 * 10**6
_REPEATED = ("source", "split", "identity", "video_name")
_MEASURED = ("landmarks", "pose_deg")


class Parquet:
    """See `Format`."""

    version = 1
    libraries = ("datasets", "pyarrow")
    splits: tuple[str, ...] = ()
    frames = ("stored files",)
    encodes = False
    by_shard = True

    def refusal(self, config: BuildConfig, settings: Settings) -> str | None:
        """See `Format`: files are not encoded again."""
        try:
            _schema()
        except ImportError as error:
            return f"parquet needs the package datasets, version 4 or later ({error}): pip install 'motionshards[parquet]'"
        if settings.size_px not in config.sizes:
            return f"parquet exports stored files, which have {either(config.sizes)} px: omit --size"
        return None

    @contextmanager
    def shard(self, output: ExportDirectory, shard: str, split: str, settings: Settings) -> Iterator[Write]:
        """See `Format`. A shard without readable clips has no file."""
        name = f"data/{split}-{shard.rpartition('-')[2]}.parquet"
        with ExitStack() as stack:
            rows = _Rows(output, name, stack)

            def write(clip: StoredClip) -> ExportedFiles:
                stored = clip.stored(settings.size_px)
                rows.add(_row(clip, stored), _payload_bytes(clip, stored))
                return ExportedFiles((name,), len(clip))

            yield write
            rows.flush()


FORMAT = Parquet()


class _Rows:
    """The rows of a file, written in row groups. Leaving `stack` completes the file."""

    def __init__(self, output: ExportDirectory, name: str, stack: ExitStack) -> None:
        self._output, self._name, self._stack = output, name, stack
        self._schema = _schema()
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: dict[str, Any], payload_bytes: int) -> None:
        if self._bytes + payload_bytes > _MOST_GROUP_BYTES:
            self.flush()
        self._rows.append(row)
        self._bytes += payload_bytes

    def flush(self) -> None:
        """Write the rows added since the last row group."""
        if self._rows:
            self._writer = self._writer or self._opened()
            self._writer.write_table(pa.table([self._column(field) for field in self._schema], schema=self._schema))
        self._rows, self._bytes = [], 0

    def _column(self, field: pa.Field) -> pa.Array:
        values = [row[field.name] for row in self._rows]
        return _nested(values, field.type) if field.name in _MEASURED else pa.array(values, field.type)

    def _opened(self) -> pq.ParquetWriter:
        """Open the writer, without compression or statistics of media: they are compressed already, and statistics would copy
        them."""
        path = self._stack.enter_context(self._output.file(self._name))
        how = {"compression": "none", "use_dictionary": list(_REPEATED), "write_statistics": ["key", *_REPEATED]}
        return self._stack.enter_context(pq.ParquetWriter(path, self._schema, **how))


def _schema() -> pa.Schema:
    """The Arrow schema of the features, with the metadata that `datasets` reads."""
    from datasets import Audio, Features, Image, List, Value, Video

    number, measure = Value("float64"), Value("float32")
    features = {
        **{name: Value("string") for name in ("key", *_REPEATED)},
        "video": Video(),
        "audio": Audio(),
        "frames": List(Image()),
        "fps": number,
        "duration_s": number,
        "video_pts_s": List(number),
        "frame_pts_s": List(number),
        "landmark_frames": List(Value("int32")),
        "landmarks": List(List(List(measure))),
        "pose_deg": List(List(measure)),
    }
    return Features(features).arrow_schema


def _row(clip: StoredClip, stored: Smaller) -> dict[str, Any]:
    video, sound, measurements = clip.video, clip.sound, clip.measurements()
    points_px = None if measurements.points_px is None else scaled_px(measurements.points_px, clip.size_px, stored.size_px)
    return {
        **{name: clip.row[name] for name in ("key", "source", "split", "identity")},
        "video_name": clip.row["video"],
        "video": None if stored.mp4 is None else _file(clip, VIDEO, stored.mp4),
        "audio": None if sound is None else _file(clip, SOUND, sound.flac),
        "frames": [_file(clip, frame_suffix(number), jpeg) for number, jpeg in enumerate(stored.jpegs)] or None,
        "fps": None if video is None else float(video.rate),
        "duration_s": clip.row["duration_s"],
        "video_pts_s": None if video is None else video.pts_s,
        "frame_pts_s": clip.row["frame_pts_s"] if stored.jpegs else None,
        "landmark_frames": None if points_px is None else measurements.numbers,
        "landmarks": points_px,
        "pose_deg": None if points_px is None else measurements.pose_deg,
    }


def _nested(rows: Sequence[NDArray[np.float32] | None], type_: pa.DataType) -> pa.Array:
    """Arrays [n,…] as nested lists, None as null. Arrow's own conversion would create a Python object per number."""
    if all(row is None for row in rows):
        return pa.nulls(len(rows), type_)
    offsets = np.cumsum([0, *(0 if row is None else len(row) for row in rows)], dtype=np.int32)
    inner = _lists(np.concatenate([row for row in rows if row is not None]))
    return pa.ListArray.from_arrays(offsets, inner, mask=pa.array([row is None for row in rows]))


def _lists(values: NDArray[np.float32]) -> pa.Array:
    """An Arrow array of n lists; list i has the values of `values[i]`."""
    if values.ndim == 1:
        return pa.array(values)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(offsets, _lists(values.reshape(-1, *values.shape[2:])))


def _file(clip: StoredClip, suffix: str, content: bytes) -> dict[str, Any]:
    """A file in the format of these features; `path` is its name in the shard."""
    return {"bytes": content, "path": f"{clip.key}.{suffix}"}


def _payload_bytes(clip: StoredClip, stored: Smaller) -> int:
    files = [*stored.jpegs, *([stored.mp4] if stored.mp4 else []), *([clip.sound.flac] if clip.sound else [])]
    return sum(map(len, files))
