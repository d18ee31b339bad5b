"""The parquet tables (plan, marker, index, rejections) and the conversion of records to rows.

A marker holds the rows of the kept and rejected clips of one unit, so that both are committed in one rename. `index.parquet`
and `rejections.parquet` are the kept and the rejected rows of all markers.

Later versions may add nullable columns and struct fields at any position. In tables of earlier versions they are read as
nulls, see `completed`.
"""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from motionshards.schemas.action_units import MEANS, ActionUnits
from motionshards.schemas.confidence import CONFIDENCE, FRAME_SCORES, confidence_columns
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import TUBE, text_of
from motionshards.schemas.moving import SoundLevel
from motionshards.schemas.records import Clip, ClipSpec, Packed, Quality, Rejected, Span
from motionshards.schemas.regular_file import open_regular

QUALITY = tuple(field.name for field in fields(Quality))
"""Per-frame measures, stored in meta.json under the same names."""
MEDIANS = tuple(name for name in QUALITY if name not in CONFIDENCE)
"""Measures of which the index stores the median over a clip's frames."""
CLIP_MEASURES = (*MEDIANS, *CONFIDENCE)
"""Index columns with one number per clip."""
FRAME_MEASURES = (*QUALITY, *FRAME_SCORES)
"""Index columns `frame_<name>`: lists with one number per frame."""

# Far above what a build writes and far below a machine's memory: a small file can declare, and unpack to, any size.
_MAX_BYTES_PER_GROUP = 2**31
_MAX_ROWS_PER_GROUP = 2**20
# Limits beyond one group: rows with distinct keys take more bytes, and zstd reaches a tenth of this ratio on real tables.
_MAX_ROWS_PER_BYTE = 2
_MAX_UNPACKED_PER_BYTE = 100

PACKED = pa.struct(
    [
        ("archive", pa.string()),
        ("offset", pa.int64()),
        ("stored_bytes", pa.int64()),
        ("bytes", pa.int64()),
        ("method", pa.string()),
        ("crc32", pa.uint32()),
    ]
)
SPAN = pa.struct(
    [
        ("uri", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("box", pa.list_(pa.float64())),
        ("reference_px", pa.list_(pa.float64())),
        ("track_uri", pa.string()),
        ("packed", PACKED),
        ("track_packed", PACKED),
        ("frames", pa.list_(pa.int64())),
        ("shown_times", pa.bool_()),
    ]
)
_WHO = [
    ("key", pa.string()),
    ("source", pa.string()),
    ("split", pa.string()),
    ("identity", pa.string()),
    ("video", pa.string()),
    ("spans", pa.list_(SPAN)),
]
PLAN = pa.schema([*_WHO, ("cost", pa.float32()), ("unit", pa.int32())])

_MEMBER = pa.struct([("suffix", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("crc32", pa.uint32())])
SOUND_MEASURES = tuple(f"audio_{field.name}" for field in fields(SoundLevel))
"""Index columns: measures of a clip's stored audio."""
_OF_VIDEO = {
    "video_frames": pa.int32(),
    "fps": pa.float64(),
    "video_crf": pa.int32(),
    "has_audio": pa.bool_(),
    "audio_hz": pa.int32(),
    "audio_lost": pa.string(),
    **dict.fromkeys(SOUND_MEASURES, pa.float32()),
}
_KEPT = [
    ("n_frames", pa.int32()),
    ("source_frames", pa.int64()),
    ("duration_s", pa.float64()),
    ("past_end_s", pa.float64()),
    ("width_px", pa.int32()),
    ("height_px", pa.int32()),
    ("pixel_aspect", pa.float64()),
    ("transfer", pa.string()),
    ("primaries", pa.string()),
    ("members", pa.list_(_MEMBER)),
    *((name, pa.float32()) for name in CLIP_MEASURES),
    ("frame_pts_s", pa.list_(pa.float64())),
    *((f"frame_{name}", pa.list_(pa.float32())) for name in FRAME_MEASURES),
    ("au_valid", pa.float32()),
    ("au_confidence", pa.float32()),
    *((name, pa.float32()) for name in MEANS),
    ("frame_au_valid", pa.list_(pa.bool_())),
    ("frame_au_confidence", pa.list_(pa.float32())),
    ("identity_spread", pa.float32()),
    *_OF_VIDEO.items(),
]
_LOST = [("stage", pa.string()), ("reason", pa.string()), ("detail", pa.string()), ("retryable", pa.bool_())]

# Never null in any row, and in rows of kept clips. Every version has these columns.
NEVER_NULL = ("key", "source", "split", "identity", "video", "shard")
NEVER_NULL_KEPT = ("n_frames", "source_frames", "duration_s", "members")

INDEX = pa.schema([*_WHO, ("shard", pa.string()), *_KEPT])
REJECTIONS = pa.schema([*_WHO, ("shard", pa.string()), *_LOST])
MARKER = pa.schema([*_WHO, ("shard", pa.string()), ("kept", pa.bool_()), *_KEPT, *_LOST])


def check_columns(found: pa.Schema, name: str) -> None:
    """Raise DatasetError if a column of a stored index has a different type than a build writes; columns may be missing.

    name: name of the table, for the message
    """
    for field in found:
        expected = INDEX.field(field.name).type if field.name in INDEX.names else field.type
        # Structs may lack fields that a later version added; other differences are detected when they are read.
        if field.type != expected and not (pa.types.is_nested(expected) and pa.types.is_nested(field.type)):
            raise DatasetError(f"{name}: column {field.name} has type {str(field.type)[:60]}, must be {str(expected)[:60]}")


@dataclass(frozen=True, slots=True)
class Member:
    """A file within a shard's tar: byte offset and size of its data, and their CRC-32 (as computed by zlib)."""

    suffix: str
    offset: int
    size: int
    crc32: int


def spec_row(spec: ClipSpec) -> dict[str, Any]:
    """The columns that identify a clip."""
    return {
        "key": spec.key,
        "source": spec.source,
        "split": spec.split,
        "identity": spec.identity,
        "video": spec.video,
        "spans": [asdict(span) for span in spec.spans],
    }


def spec_from_row(row: dict[str, Any]) -> ClipSpec:
    """The clip of a plan row."""
    who = {name: row[name] for name in ("key", "source", "split", "identity", "video", "cost")}
    return ClipSpec(spans=tuple(span_from_row(span) for span in row["spans"]), **who)


def span_from_row(row: Mapping[str, Any]) -> Span:
    """The span of a row; fields unknown to the version that wrote it are absent or None."""
    lists = {name: tuple(row[name]) for name in ("box", "reference_px", "frames") if row.get(name) is not None}
    packed = {name: Packed(**row[name]) for name in ("packed", "track_packed") if row.get(name) is not None}
    return Span(**{**row, **lists, **packed})


def planned_keys_of(keys: pa.ChunkedArray) -> pa.ChunkedArray:
    """`layout.planned_key` for a column of keys."""
    return pc.replace_substring_regex(keys, f"{TUBE}.*$", "")


def _median(values: np.ndarray) -> float | None:
    """Median of the values that are not NaN; None (not NaN) if there are none, so that filters skip the row."""
    present = values[~np.isnan(values)]
    return float(np.median(present)) if len(present) else None


def clip_row(clip: Clip, shard: str, members: Sequence[Member]) -> dict[str, Any]:
    """The marker row of a kept clip."""
    quality = {name: getattr(clip.quality, name) for name in QUALITY}
    width, height = clip.placement.source_size_px[0]
    return {
        **spec_row(clip.spec),
        "shard": shard,
        "kept": True,
        "n_frames": len(clip),
        "source_frames": clip.source_frames,
        "duration_s": clip.duration_s,
        "past_end_s": clip.past_end_s,
        "width_px": int(width),
        "height_px": int(height),
        **asdict(clip.display),
        "members": [asdict(member) for member in members],
        **{name: _median(quality[name]) for name in MEDIANS},
        "frame_pts_s": clip.placement.pts_s,
        **{f"frame_{name}": values for name, values in quality.items()},
        **_confidence(clip),
        **_au_columns(clip.aus),
        "identity_spread": clip.identity_spread,
        **_video_columns(clip),
    }


def _video_columns(clip: Clip) -> dict[str, Any]:
    """Columns of stored video and audio; null if not stored."""
    columns: dict[str, Any] = dict.fromkeys(_OF_VIDEO)
    if clip.video is not None:
        columns |= {"video_frames": len(clip.video), "fps": float(clip.video.rate), "video_crf": clip.video.crf}
        columns |= {"has_audio": clip.sound is not None, "audio_lost": clip.sound_lost}
    if clip.sound is not None:
        columns |= {"audio_hz": clip.sound.hz, **dict(zip(SOUND_MEASURES, astuple(clip.sound.level), strict=True))}
    return columns


def _confidence(clip: Clip) -> dict[str, Any]:
    """Confidence measures of the faces; null with `--landmarks none`."""
    if clip.track is None or clip.landmarks is None:
        return dict.fromkeys((*CONFIDENCE, *(f"frame_{name}" for name in FRAME_SCORES)))
    return confidence_columns(
        boxes_px=clip.track.boxes_px,
        detector_scores=clip.track.scores,
        landmark_scores=clip.landmarks.scores,
        residual=clip.quality.landmark_residual,
        yaw_deg=clip.quality.yaw_deg,
        span=clip.placement.span,
        pts_s=clip.placement.pts_s,
    )


def _au_columns(aus: ActionUnits | None) -> dict[str, Any]:
    """Action unit columns for selecting clips and frames; null with `--aus none`. The values themselves are in the sample."""
    if aus is None:
        return dict.fromkeys(("au_valid", "au_confidence", *MEANS, "frame_au_valid", "frame_au_confidence"))
    return {
        "au_valid": aus.share,
        "au_confidence": _median(aus.confidence),
        **aus.means,
        "frame_au_valid": aus.valid,
        "frame_au_confidence": aus.confidence,
    }


def rejected_row(rejected: Rejected, shard: str) -> dict[str, Any]:
    """The marker row of a rejected clip."""
    return {
        **spec_row(rejected.spec),
        "shard": shard,
        "kept": False,
        "stage": rejected.stage,
        "reason": rejected.reason,
        "detail": text_of(rejected.detail),  # may contain a file name that is not UTF-8
        "retryable": rejected.retryable,
    }


def table(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Build a table from rows; columns that a row lacks are null."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def completed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert the rows to `schema`; columns and struct fields that an earlier version did not write are null.

    Raises:
        pa.ArrowException: a column has another type or is unknown, or a column that every version has is missing
    """
    if rows.column_names == schema.names:
        return rows.cast(schema)
    if unknown := set(rows.column_names) - set(schema.names):
        raise pa.ArrowInvalid(f"columns of another version: {', '.join(sorted(unknown))}")
    if missing := [one for one in schema.names if one in (*NEVER_NULL, *NEVER_NULL_KEPT) and one not in rows.column_names]:
        raise pa.ArrowInvalid(f"columns are missing: {', '.join(missing)}")
    columns = {
        one.name: rows[one.name].cast(one.type) if one.name in rows.column_names else pa.nulls(len(rows), one.type)
        for one in schema
    }
    return pa.table(columns, schema)


def open_parquet(source: Path | io.BytesIO, **options: Any) -> pq.ParquetFile:
    """Open a table of a dataset that may be damaged or malicious. Use as a context manager, so that the file is closed.

    options: passed to `pyarrow.parquet.ParquetFile`

    Raises:
        OSError, pa.ArrowException: it is not a regular file (a FIFO would block), not parquet, or declares an implausible size
    """
    if isinstance(source, Path):
        with open_regular(source) as stream:
            stored = stream.seek(0, os.SEEK_END)
    else:
        stored = len(source.getbuffer())
    file = pq.ParquetFile(source, **options)
    # Do not access the groups' column metadata here: pyarrow aborts the process if their statistics are damaged.
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    rows, unpacked = [group.num_rows for group in groups], [group.total_byte_size for group in groups]
    if (
        min(rows + unpacked, default=0) < 0
        or max(rows, default=0) > _MAX_ROWS_PER_GROUP
        or max(unpacked, default=0) > _MAX_BYTES_PER_GROUP
        or max(sum(rows), file.metadata.num_rows) > _MAX_ROWS_PER_GROUP + _MAX_ROWS_PER_BYTE * stored
        or sum(unpacked) > _MAX_BYTES_PER_GROUP + _MAX_UNPACKED_PER_BYTE * stored
    ):
        file.close()
        raise pa.ArrowInvalid(f"{stored:,} bytes declare {sum(rows):,} rows and {sum(unpacked):,} unpacked bytes")
    return file
