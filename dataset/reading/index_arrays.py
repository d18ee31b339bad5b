"""Rows of the index as flat arrays: where the frames, video and sound of clips are stored, and their measurements.

The index is untrusted input: rows that contradict themselves are rejected here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import AUS, IDENTITY, LANDMARKS, MAIN_FRAME, POINTS, SOUND, smaller_of, video_suffix
from motionshards.schemas.tables import INDEX

Arrays = dict[str, NDArray[Any]]
Shown = Literal["stills", "video"]

POSE = ("yaw_deg", "pitch_deg", "roll_deg")
PER_FRAME = frozenset(("frame_offset", "frame_size", "frame_crc", "pose", "au_valid"))
"""Arrays with a row per frame; all others have one per clip."""
_NEVER_NULL = ("key", "split", "identity", "shard", "n_frames", "members")
_NEEDED = (*_NEVER_NULL, *(f"frame_{name}" for name in POSE), "frame_au_valid")
_SCALAR = tuple(one.name for one in INDEX if not pa.types.is_list(one.type))
COLUMNS = tuple(dict.fromkeys((*_SCALAR, *_NEEDED)))

_MOST_VIDEO_FRAMES, _MOST_FPS, _MOST_HZ = 1 << 24, 1000, 1 << 20
# Larger than the denominator of any stored rate, see `schemas.config`.
_LARGEST_DENOMINATOR = 10**6


@dataclass(frozen=True, slots=True)
class Kind:
    """Which frames of clips are read.

    main_px: height and width of frames at the dataset's size; stored points are in its pixels
    smaller_px: the smaller size at which frames are read; None for the dataset's size
    every: row r of the measurements belongs to frame r · every; 1 for stills
    """

    shown: Shown
    main_px: int
    smaller_px: int | None = None
    every: int = 1

    @classmethod
    def of(cls, shown: Shown, sizes: Sequence[int], size: int | None, every: int = 1) -> "Kind":
        """Frames of `size` px, by default the first of the stored `sizes`. Raises ConfigError: the size is not stored."""
        return cls(shown, sizes[0], smaller_of(sizes, size), every if shown == "video" else 1)

    @property
    def size_px(self) -> int:
        """Height and width of the frames that are read."""
        return self.smaller_px or self.main_px

    def __str__(self) -> str:
        beside = "" if self.smaller_px is None else f" beside those of {self.main_px} px"
        return f"{self.shown} of {self.size_px} px{beside}" + (f", measured every {self.every}" if self.shown == "video" else "")


class Codes:
    """Assigns numbers to names in order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._numbers)

    def of(self, names: pa.ChunkedArray) -> NDArray[np.int32]:
        coded = pc.dictionary_encode(names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names)
        numbers = [self._numbers.setdefault(name, len(self._numbers)) for name in coded.dictionary.to_pylist()]
        found: NDArray[np.int32] = np.array(numbers, np.int32)[coded.indices.to_numpy()]
        return found


def arrays_of(table: pa.Table, shards: Codes, identities: Codes, kind: Kind) -> Arrays:
    """The arrays of `catalog.Catalog` for some rows, with `count`, frames per clip, instead of `first`.

    Raises:
        DatasetError: the rows contradict themselves
    """
    for name in _NEVER_NULL:
        if table[name].null_count:
            raise DatasetError(f"the index has no {name} for a clip: run dataset.verify")
    arrays = {
        "row": table["_row"].to_numpy(),
        "shard": shards.of(pc.binary_join_element_wise(table["split"], table["shard"], "/")),
        "identity": identities.of(table["identity"]),
    }
    members, count = _Members(table), table["n_frames"].to_numpy().astype(np.int64)
    arrays["embedding"] = members.single(IDENTITY)
    if kind.shown == "stills":
        return {**arrays, **_stills(members, count, kind), **_measures(table, count)}
    return {**arrays, **_video(table, members, count, kind)}


def no_arrays(kind: Kind) -> Arrays:
    """Empty arrays."""
    return arrays_of(INDEX.empty_table().append_column("_row", pa.array([], pa.int64())), Codes(), Codes(), kind)


class _Members:
    """Where the members of each clip of a table are stored."""

    def __init__(self, table: pa.Table) -> None:
        column = table["members"].combine_chunks()
        flat = column.flatten()
        self.suffix, self._clips = flat.field("suffix"), len(table)
        self.clip = pc.list_parent_indices(column).to_numpy()
        if flat.null_count or any(flat.field(place).null_count for place in ("suffix", "offset", "size", "crc32")):
            raise DatasetError("the index has members without offset, size or crc32: run dataset.verify")
        self.place = np.stack([flat.field(name).to_numpy().astype(np.int64) for name in ("offset", "size", "crc32")], axis=1)
        if not ((self.place[:, 0] >= 0) & (self.place[:, 1] >= 0) & (self.place[:, 1] < 2**32)).all():
            raise DatasetError("the index has members with an impossible offset or size: run dataset.verify")

    def single(self, name: str) -> NDArray[np.int64]:
        """Offset, size and crc32 of a member of each clip, int64 [C,3]; zeros for clips without it."""
        found = np.zeros((self._clips, 3), np.int64)
        here = pc.equal(self.suffix, name).to_numpy(zero_copy_only=False)
        found[self.clip[here]] = self.place[here]
        return found

    def are_frames(self, smaller_px: int | None) -> NDArray[np.bool_]:
        """Which members are stills of a size, bool [members]."""
        pattern = MAIN_FRAME if smaller_px is None else rf"^{smaller_px}\.\d+\.jpg$"
        found: NDArray[np.bool_] = pc.match_substring_regex(self.suffix, pattern).to_numpy(zero_copy_only=False)
        return found


def _stills(members: _Members, count: NDArray[np.int64], kind: Kind) -> Arrays:
    frames = members.are_frames(kind.smaller_px)
    if not np.array_equal(np.bincount(members.clip[frames], minlength=len(count)), count):
        raise DatasetError("the index lists a different number of frames than n_frames: run dataset.verify")
    offset, size, crc = members.place[frames].T
    return {
        "count": count,
        "landmarks": members.single(LANDMARKS),
        "aus": members.single(AUS),
        "frame_offset": offset,
        "frame_size": size.astype(np.uint32),
        "frame_crc": crc.astype(np.uint32),
    }


def _video(table: pa.Table, members: _Members, described: NDArray[np.int64], kind: Kind) -> Arrays:
    video = members.single(video_suffix(kind.smaller_px))
    arrays = {"video": video, "sound": members.single(SOUND), "landmarks": members.single(POINTS)}
    number = {name: pc.fill_null(table[name], 0).to_numpy() for name in ("video_frames", "fps", "audio_hz")}
    frames, hz = number["video_frames"].astype(np.int64), number["audio_hz"].astype(np.int64)
    stored, sounds = arrays["video"][:, 1] > 0, arrays["sound"][:, 1] > 0
    if not ((frames >= stored) & (frames <= stored * _MOST_VIDEO_FRAMES) & (hz >= sounds) & (hz <= sounds * _MOST_HZ)).all():
        raise DatasetError("the index contradicts itself about video or sound: run dataset.verify")
    arrays |= {"video_frames": frames, "rate": _rates(number["fps"], stored), "audio_hz": hz}
    if members.are_frames(None).any():  # beside stills, the index does not describe measured frames
        nothing = np.zeros_like(described)
        return {**arrays, "count": nothing, "aus": np.zeros_like(arrays["video"]), **_no_measures()}
    if not np.array_equal(-(-frames // kind.every), described):
        raise DatasetError("the number of frames that the index describes does not match the video: run dataset.verify")
    return {**arrays, "count": described, "aus": members.single(AUS), **_measures(table, described)}


def _rates(fps: NDArray[np.float64], stored: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Numerator and denominator of the frame rates, int64 [C,2]; 1, 1 for clips without video."""
    distinct, which = np.unique(np.where(stored, fps, 1.0), return_inverse=True)
    if not ((distinct > 0) & (distinct <= _MOST_FPS)).all():
        raise DatasetError("the index has impossible frame rates: run dataset.verify")
    rates = [Fraction(one).limit_denominator(_LARGEST_DENOMINATOR) for one in distinct.tolist()]
    return np.array([(rate.numerator, rate.denominator) for rate in rates], np.int64).reshape(-1, 2)[which]


def _measures(table: pa.Table, count: NDArray[np.int64]) -> Arrays:
    return {
        "pose": np.stack([_of_frames(table, f"frame_{name}", count, np.nan, np.float32) for name in POSE], axis=1),
        "au_valid": _of_frames(table, "frame_au_valid", count, False, np.bool_),
    }


def _no_measures() -> Arrays:
    return {"pose": np.zeros((0, len(POSE)), np.float32), "au_valid": np.zeros(0, np.bool_)}


def _of_frames(table: pa.Table, name: str, count: NDArray[np.int64], absent: Any, dtype: Any) -> NDArray[Any]:
    """A list column as one value per frame; `absent` for clips without a list."""
    column = table[name].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    if not ((lengths == count) | (lengths == 0)).all():
        raise DatasetError(f"the length of {name} in the index does not match n_frames: run dataset.verify")
    values = np.full(int(count.sum()), absent, dtype)
    flat = column.flatten()
    flat = pc.cast(flat, pa.float32()) if dtype is np.float32 else flat
    values[np.repeat(lengths == count, count)] = pc.fill_null(flat, absent).to_numpy(zero_copy_only=False)
    return values
