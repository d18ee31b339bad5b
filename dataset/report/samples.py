"""Reads the clips to show: one stored frame each with its landmarks, box, pose and action units, and the stored video."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.drawing.motion import Motion
from motionshards.dataset.index import read_members
from motionshards.dataset.plotting.waveform import envelope
from motionshards.dataset.report.clips import MEASURES
from motionshards.dataset.report.tables import Rows, rows_at
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import (
    AUS,
    IDENTITY,
    IDENTITY_NUMBERS,
    INDEX,
    LANDMARKS,
    META,
    POINT_SCORES,
    POINTS,
    SOUND,
    VIDEO,
    VIDEO_FRAMES,
    frame_suffix,
    tar_path,
)
from motionshards.schemas.regular_file import open_regular
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.schemas.tables import INDEX as SCHEMA
from motionshards.transforms.extract.encode import decode_frames

_WHO = ("key", "split", "identity", "video", "shard", "members", "n_frames", "duration_s", *MEASURES, "faces")
_PLACE = ("key", "split", "shard", "members", "n_frames")
_OF_VIDEO = (VIDEO, SOUND, VIDEO_FRAMES, POINTS, POINT_SCORES)
_MOST_VIDEO_BYTES = 300_000
_COLUMNS = 240


@dataclass(frozen=True, slots=True)
class ClipVideo:
    """The stored video of a clip.

    seconds: its duration
    mp4: file with video and sound to embed; None if it is not to be played
    playing_s: duration of that file, which is truncated at a maximum size
    edges: float32 [columns,2], the waveform returned by `envelope`; None without sound
    """

    seconds: float
    mp4: bytes | None = field(repr=False)
    playing_s: float
    edges: NDArray[np.float32] | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """The frame that represents a clip. Coordinates are in pixels of that frame, the top left pixel's center at (0, 0).

    number: index among the stored frames, or among the measured ones if there are no stills
    rgb: uint8 [H,W,3]
    points_px: float32 [68,2] landmarks; None if there are none or no face was found
    box_px: x0 y0 x1 y1 of the face; None likewise
    pose_deg: yaw, pitch, roll; None likewise
    aus: float32 [17], intensities 0 to 5; None if there are none or the frame is not valid
    moving: the stored video; None if there is none
    """

    number: int
    rgb: NDArray[np.uint8] = field(repr=False)
    points_px: NDArray[np.float32] | None = field(repr=False)
    box_px: list[float] | None
    pose_deg: list[float] | None
    aus: NDArray[np.float32] | None
    moving: ClipVideo | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A clip: its row of the index, and its frame, or the reason why it cannot be read."""

    row: dict[str, Any]
    shown: ShownFrame | None
    error: str = ""


def read_samples(out: Path, rows: Rows, videos: int) -> Iterator[Sample]:
    """Read clips by row of the index, `videos` of them with video. Unreadable ones have no frame. Raises DatasetError."""
    playing = set(np.linspace(0, len(rows) - 1, min(videos, len(rows))).round().astype(int).tolist())
    for number, row in enumerate(rows_at(out / INDEX, SCHEMA, _WHO, rows) if len(rows) else []):
        try:
            with open_regular(tar_path(out, row["split"], row["shard"])) as stream:
                yield Sample(row, _shown(row, stream, number in playing))
        except OSError as error:
            yield Sample(row, None, f"{row['shard']}.tar: {error.strerror}")
        except KeyError as error:
            yield Sample(row, None, f"{error.args[0]} is missing")
        except (ValueError, DatasetError) as error:
            yield Sample(row, None, str(error))


def read_aus(out: Path, rows: Rows) -> tuple[NDArray[np.float32], int]:
    """Intensities of the valid frames of the clips in these rows, float32 [frames,17], and the number of readable clips.

    Only the members with action units are read. Raises DatasetError.
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
    """An array of each clip; None if it cannot be read."""
    for row in rows_at(out / INDEX, SCHEMA, _PLACE, rows) if len(rows) else []:
        try:
            with open_regular(tar_path(out, row["split"], row["shard"])) as stream:
                yield _arrays(stream, _members(row["members"], suffix), row["n_frames"]).get(_stem(suffix))
        except (OSError, ValueError):
            yield None


def _shown(row: dict[str, Any], stream: BinaryIO, plays: bool) -> ShownFrame:
    """Read the middle frame, or the nearest one in which a face was found."""
    members = read_members(stream, _members(row["members"], META, LANDMARKS, AUS, *_OF_VIDEO))
    arrays = decode_arrays(members, row["n_frames"])
    meta, aus = arrays[_stem(META)], arrays.get(_stem(AUS))
    motion = Motion.of(f"{row['shard']}.tar", members, arrays)
    has_stills = any(member["suffix"] == frame_suffix(0) for member in row["members"])
    landmarks = arrays.get(_stem(LANDMARKS if has_stills else POINTS))
    number = _frame_to_show(row["n_frames"], landmarks)
    if has_stills or motion is None:
        suffix = frame_suffix(number)
        (rgb,) = decode_frames([read_members(stream, _members(row["members"], suffix))[suffix]])
    else:
        (rgb,) = motion.frames(np.array([number * motion.video.every]))
    return ShownFrame(
        number,
        rgb,
        points_px=_known(None if landmarks is None else landmarks[number]),
        box_px=_all_numbers(meta.get("boxes_px"), number),
        pose_deg=_all_numbers(list(zip(*(meta[name] for name in ("yaw_deg", "pitch_deg", "roll_deg")), strict=True)), number),
        aus=_known(None if aus is None else aus[number]),
        moving=None if motion is None else _moving(motion, plays),
    )


def _moving(motion: Motion, plays: bool) -> ClipVideo:
    mp4, frames = motion.playable(_MOST_VIDEO_BYTES) if plays else (None, 0)
    sound = motion.sound()
    edges = None if sound is None else envelope(sound.samples, _COLUMNS)
    rate = motion.video.rate
    return ClipVideo(float(len(motion) / rate), mp4, float(frames / rate), edges)


def _frame_to_show(count: int, landmarks: NDArray[np.float32] | None) -> int:
    if landmarks is None:
        return count // 2
    seen = np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2)))
    return int(seen[np.argmin(abs(seen - count // 2))]) if len(seen) else count // 2


def _known(values: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return values if values is not None and np.isfinite(values).all() else None


def _all_numbers(frames: Sequence[Any] | None, number: int) -> list[float] | None:
    """Entry `number` if it exists and has no null."""
    entry = None if frames is None else frames[number]
    return None if entry is None or any(value is None for value in entry) else [float(value) for value in entry]


def _members(members: Sequence[dict[str, Any]], *suffixes: str) -> list[dict[str, Any]]:
    return [member for member in members if member["suffix"] in suffixes]


def _arrays(stream: BinaryIO, members: list[dict[str, Any]], frames: int) -> dict[str, Any]:
    return decode_arrays(read_members(stream, members), frames)


def _stem(suffix: str) -> str:
    return suffix.rpartition(".")[0]
