"""Clips as they are shown: one stored frame each, with what was found in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.index import read_members
from motionshards.dataset.report.clips import MEASURES
from motionshards.dataset.report.tables import Rows, rows_at
from motionshards.schemas.layout import AUS, IDENTITY, IDENTITY_NUMBERS, INDEX, LANDMARKS, META, frame_suffix, tar_path
from motionshards.schemas.regular_file import open_regular
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.schemas.tables import INDEX as SCHEMA
from motionshards.transforms.extract.encode import decode_frames

_WHO = ("key", "split", "identity", "video", "shard", "members", "n_frames", "duration_s", *MEASURES, "faces")
_PLACE = ("key", "split", "shard", "members", "n_frames")


@dataclass(frozen=True, slots=True)
class Shown:
    """The frame of a clip that stands for it. Coordinates are in pixels of that frame, the top left pixel's centre at (0, 0).

    number: which of the stored frames
    rgb: uint8 [H,W,3]
    points_px: float32 [68,2] landmarks; None where there are none or no face was found
    box_px: x0 y0 x1 y1 of the face; None likewise
    pose_deg: yaw, pitch, roll; None likewise
    aus: float32 [17], intensities 0 to 5; None in a data set without them or where not valid
    """

    number: int
    rgb: NDArray[np.uint8] = field(repr=False)
    points_px: NDArray[np.float32] | None = field(repr=False)
    box_px: list[float] | None
    pose_deg: list[float] | None
    aus: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Sample:
    """A clip: its row of the index, and its frame, or in words why there is none."""

    row: dict[str, Any]
    shown: Shown | None
    trouble: str = ""


def read_samples(out: Path, rows: Rows) -> Iterator[Sample]:
    """The clips in these rows of the index. A clip that cannot be read has no frame. Raises DatasetError."""
    for row in rows_at(out / INDEX, SCHEMA, _WHO, rows) if len(rows) else []:
        try:
            with open_regular(tar_path(out, row["split"], row["shard"])) as stream:
                yield Sample(row, _shown(row, stream))
        except OSError as error:
            yield Sample(row, None, f"{row['shard']}.tar: {error.strerror}")
        except KeyError as error:
            yield Sample(row, None, f"{error.args[0]} is missing")
        except ValueError as error:
            yield Sample(row, None, str(error))


def read_aus(out: Path, rows: Rows) -> tuple[NDArray[np.float32], int]:
    """Intensities of the valid frames of the clips in these rows, float32 [frames,17], and how many of the clips could be read.

    Only the members that hold them are read. Raises DatasetError.
    """
    found = [aus for aus in _each(out, rows, AUS) if aus is not None]
    frames = np.concatenate([np.empty((0, 17), np.float32), *found])
    return frames[np.isfinite(frames).all(axis=1)], len(found)


def read_embeddings(out: Path, rows: Rows) -> NDArray[np.float32]:
    """Face descriptors of the clips in these rows, float32 [n,128]; NaN where they cannot be read. Raises DatasetError."""
    nothing = np.full(IDENTITY_NUMBERS, np.nan, np.float32)
    found = [nothing if one is None else one for one in _each(out, rows, IDENTITY)]
    return np.array(found, np.float32).reshape(-1, IDENTITY_NUMBERS)


def _each(out: Path, rows: Rows, suffix: str) -> Iterator[NDArray[np.float32] | None]:
    """One array of each clip; None where it cannot be read."""
    for row in rows_at(out / INDEX, SCHEMA, _PLACE, rows) if len(rows) else []:
        try:
            with open_regular(tar_path(out, row["split"], row["shard"])) as stream:
                yield _arrays(stream, _members(row["members"], suffix), row["n_frames"]).get(_stem(suffix))
        except (OSError, ValueError):
            yield None


def _shown(row: dict[str, Any], stream: BinaryIO) -> Shown:
    """The middle frame, or the one nearest to it in which a face was found."""
    arrays = _arrays(stream, _members(row["members"], META, LANDMARKS, AUS), row["n_frames"])
    meta, landmarks, aus = arrays[_stem(META)], arrays.get(_stem(LANDMARKS)), arrays.get(_stem(AUS))
    number = _frame_to_show(row["n_frames"], landmarks)
    suffix = frame_suffix(number)
    (rgb,) = decode_frames([read_members(stream, _members(row["members"], suffix))[suffix]])
    return Shown(
        number,
        rgb,
        points_px=_known(None if landmarks is None else landmarks[number]),
        box_px=_all_numbers(meta.get("boxes_px"), number),
        pose_deg=_all_numbers(list(zip(*(meta[name] for name in ("yaw_deg", "pitch_deg", "roll_deg")), strict=True)), number),
        aus=_known(None if aus is None else aus[number]),
    )


def _frame_to_show(count: int, landmarks: NDArray[np.float32] | None) -> int:
    if landmarks is None:
        return count // 2
    seen = np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2)))
    return int(seen[np.argmin(abs(seen - count // 2))]) if len(seen) else count // 2


def _known(values: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return values if values is not None and np.isfinite(values).all() else None


def _all_numbers(frames: Sequence[Any] | None, number: int) -> list[float] | None:
    """Entry `number`, where it is there and whole: JSON has null for no number."""
    entry = None if frames is None else frames[number]
    return None if entry is None or any(value is None for value in entry) else [float(value) for value in entry]


def _members(members: Sequence[dict[str, Any]], *suffixes: str) -> list[dict[str, Any]]:
    return [member for member in members if member["suffix"] in suffixes]


def _arrays(stream: BinaryIO, members: list[dict[str, Any]], frames: int) -> dict[str, Any]:
    return decode_arrays(read_members(stream, members), frames)


def _stem(suffix: str) -> str:
    return suffix.rpartition(".")[0]
