"""Reads the index in one pass: a few numbers per clip, and sums over frames."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from motionshards.dataset.query.where_values import kind_of_column
from motionshards.dataset.report.tables import Rows, pieces
from motionshards.schemas.confidence import CONFIDENCE
from motionshards.schemas.tables import INDEX, SOUND_MEASURES

MEASURES = ("face_size_px", "blur", "brightness", "yaw_deg", "pitch_deg", "roll_deg", *CONFIDENCE)
OF_VIDEO = ("video_frames", "fps", "has_audio", *SOUND_MEASURES)
MOST_POSE_DEG = 90
MOST_FACES = 20
"""Frames with more faces are counted as having this many."""

_FRAMES = ("frame_faces", "frame_yaw_deg", "frame_pitch_deg")
# A condition may use any column with one value per clip.
_COLUMNS = (*(column.name for column in INDEX if kind_of_column(column.type)), *_FRAMES)


@dataclass(frozen=True, slots=True)
class Clips:
    """The n clips selected by a condition, in the order of the index.

    listed: number of clips in the index
    row: int64 [n], row numbers in the index
    split, identity: int32 [n], indices into `splits` and `identities`
    n_frames: int64 [n], number of stored frames
    source_frames: float64 [n], number of decodable frames
    duration_s: float64 [n]
    measures: float32 [n] each, by name: MEASURES and OF_VIDEO; NaN where no frame has the measure
    faces: int64 [MOST_FACES + 1], number of frames by number of faces; `faces_absent` frames have no count
    pose: int64 [180,180], frames by yaw (first axis) and pitch in steps of one degree from -90 on, outliers in the outermost bins
    """

    listed: int
    row: Rows = field(repr=False)
    splits: tuple[str, ...]
    split: NDArray[np.int32] = field(repr=False)
    identities: tuple[str, ...] = field(repr=False)
    identity: NDArray[np.int32] = field(repr=False)
    n_frames: NDArray[np.int64] = field(repr=False)
    source_frames: NDArray[np.float64] = field(repr=False)
    duration_s: NDArray[np.float64] = field(repr=False)
    measures: dict[str, NDArray[np.float32]] = field(repr=False)
    faces: NDArray[np.int64] = field(repr=False)
    faces_absent: int
    pose: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.row)


def read_clips(index: Path, where: pc.Expression | None = None) -> Clips:
    """Read the clips of the index selected by `where`; None selects all. Memory: about 110 bytes per clip, and one row group.

    Raises:
        DatasetError: the index cannot be read
    """
    listed, sums, parts = 0, _FrameSums(), [_Part.of(_numbered(INDEX.empty_table(), 0))]
    for first, table in pieces(index, INDEX, _COLUMNS):
        listed += len(table)
        numbered = _numbered(table, first)
        selected = numbered if where is None else numbered.filter(where)
        parts.append(_Part.of(selected))
        sums.add(selected)
    return _joined(parts, listed, sums)


def _numbered(table: pa.Table, first: int) -> pa.Table:
    return table.append_column("row", pa.array(np.arange(first, first + len(table)), pa.int64()))


@dataclass(frozen=True, slots=True)
class _Part:
    """Columns of the selected clips of one row group; strings as Arrow arrays, because most of them repeat."""

    split: pa.ChunkedArray
    identity: pa.ChunkedArray
    numbers: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, table: pa.Table) -> "_Part":
        numbers = {name: _floats(table[name]) for name in ("source_frames", "duration_s", *MEASURES, *OF_VIDEO)}
        numbers["row"] = table["row"].to_numpy()
        numbers["n_frames"] = pc.fill_null(table["n_frames"].cast(pa.int64()), 0).to_numpy()
        return cls(pc.fill_null(table["split"], ""), pc.fill_null(table["identity"], ""), numbers)


class _FrameSums:
    """Counts over the frames of all clips."""

    def __init__(self) -> None:
        self.faces = np.zeros(MOST_FACES + 1, np.int64)
        self.absent = 0
        self.pose = np.zeros((2 * MOST_POSE_DEG,) * 2, np.int64)

    def add(self, table: pa.Table) -> None:
        self._add_faces(_flat(table["frame_faces"]))
        yaw, pitch = table["frame_yaw_deg"], table["frame_pitch_deg"]
        paired = pc.fill_null(pc.equal(pc.list_value_length(yaw), pc.list_value_length(pitch)), False)
        self._add_pose(_flat(yaw.filter(paired)), _flat(pitch.filter(paired)))

    def _add_faces(self, faces: NDArray[np.float32]) -> None:
        known = faces[np.isfinite(faces)].clip(0, MOST_FACES).astype(np.int64)
        self.faces += np.bincount(known, minlength=MOST_FACES + 1)
        self.absent += len(faces) - len(known)

    def _add_pose(self, yaw: NDArray[np.float32], pitch: NDArray[np.float32]) -> None:
        known = np.isfinite(yaw) & np.isfinite(pitch)
        bins = len(self.pose)
        across, up = (np.floor(angle[known] + MOST_POSE_DEG).clip(0, bins - 1).astype(np.int64) for angle in (yaw, pitch))
        self.pose += np.bincount(across * bins + up, minlength=bins * bins).reshape(bins, bins)


def _joined(parts: Sequence[_Part], listed: int, sums: _FrameSums) -> Clips:
    numbers = {name: np.concatenate([part.numbers[name] for part in parts]) for name in parts[0].numbers}
    splits, split = _coded([part.split for part in parts])
    identities, identity = _coded([part.identity for part in parts])
    return Clips(
        listed=listed,
        row=numbers["row"].astype(np.int64),
        splits=splits,
        split=split,
        identities=identities,
        identity=identity,
        n_frames=numbers["n_frames"].astype(np.int64),
        source_frames=numbers["source_frames"],
        duration_s=numbers["duration_s"],
        measures={name: numbers[name].astype(np.float32) for name in (*MEASURES, *OF_VIDEO)},
        faces=sums.faces,
        faces_absent=sums.absent,
        pose=sums.pose,
    )


def _coded(columns: Sequence[pa.ChunkedArray]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The distinct strings, sorted, and the index of each clip's."""
    texts = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    coded = texts.combine_chunks().dictionary_encode()
    names = coded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.int32)
    place[order] = np.arange(len(names), dtype=np.int32)
    return tuple(names[number] for number in order), place[coded.indices.to_numpy()]


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """As float64, NaN where null."""
    return np.asarray(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy())


def _flat(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """The concatenated entries of all lists, NaN where null; a null list has no entries."""
    flat = pc.fill_null(pc.list_flatten(column), float("nan"))
    return np.asarray(flat.to_numpy())
