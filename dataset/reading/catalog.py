"""What reading needs to know of the clips that were chosen, as flat arrays: where their frames lie, and what was measured.

C counts the clips, F their stored frames. Those of clip c are frames [first[c], first[c + 1]). 29 bytes a frame, some 100 a
clip: 0.6 GB for the 1.1 million clips of VoxCeleb2 at 16 frames, in memory that the processes which read share.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from motionshards.dataset.reading.layout import Layout
from motionshards.dataset.reading.shared_memory import Shared
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import AUS, IDENTITY, LANDMARKS
from motionshards.schemas.tables import INDEX

POSE = ("yaw_deg", "pitch_deg", "roll_deg")
_NEEDED = ("key", "split", "identity", "shard", "n_frames", "members", *(f"frame_{name}" for name in POSE), "frame_au_valid")
_SCALAR = tuple(one.name for one in INDEX if not pa.types.is_list(one.type))
COLUMNS = tuple(dict.fromkeys((*_SCALAR, *_NEEDED)))


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """The chosen clips, in the order of the index.

    arrays:
        row: int64 [C], number of the clip in the whole index
        shard: int32 [C], which of `shards` it lies in
        identity: int32 [C], which of `identities` it shows
        first: int64 [C+1], number of its first frame among all
        landmarks, aus, embedding: int64 [C,3], offset, size and crc32 of the member; size 0 where there is none
        frame_offset: int64 [F], bytes from the start of the tar
        frame_size, frame_crc: uint32 [F]
        pose: float32 [F,3], yaw, pitch, roll in degrees, NaN where unknown
        au_valid: bool [F]
    keys: of the clips, strings
    shards: (split, name) of each
    identities: names
    memory: where the arrays lie
    """

    arrays: dict[str, NDArray[Any]] = field(repr=False)
    keys: pa.StringArray = field(repr=False)
    shards: tuple[tuple[str, str], ...] = field(repr=False)
    identities: tuple[str, ...] = field(repr=False)
    memory: Shared | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """By copy: a process that does not inherit the memory gets its own."""
        return _shared_catalog, ([dict(self.arrays)], self.keys, self.shards, self.identities)

    def __len__(self) -> int:
        return len(self.arrays["row"])

    @property
    def n_frames(self) -> NDArray[np.int64]:
        """int64 [C]"""
        counts: NDArray[np.int64] = np.diff(self.arrays["first"])
        return counts

    def frames_of(self, clip: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many frames the clips of these numbers have, int64 [B]."""
        first = self.arrays["first"]
        counts: NDArray[np.int64] = first[clip + 1] - first[clip]
        return counts

    def frames_in(self, clip: int) -> int:
        """How many frames the clip of this number has."""
        first = self.arrays["first"]
        return int(first[clip + 1] - first[clip])

    def digest(self) -> str:
        """What the order and the picks of an epoch depend on: which clips there are, and how many frames they have."""
        arrays = self.arrays
        parts = (arrays["row"], arrays["first"], arrays["identity"], arrays["shard"], arrays["frame_crc"])
        return hashlib.blake2b(b"".join(hashlib.blake2b(part.tobytes()).digest() for part in parts), digest_size=16).hexdigest()

    def taking(self, keep: NDArray[np.bool_]) -> "Catalog":
        """The clips for which `keep`, bool [C], is true."""
        if keep.all():
            return self
        frames = np.repeat(keep, self.n_frames)
        by_clip = ("row", "shard", "identity", "landmarks", "aus", "embedding")
        arrays = {name: array[keep if name in by_clip else frames] for name, array in self.arrays.items() if name != "first"}
        arrays["first"] = _starts(self.n_frames[keep])
        return _shared_catalog([arrays], self.keys.filter(pa.array(keep)), self.shards, self.identities)


def read_catalog(tables: Iterable[pa.Table], where: pc.Expression | None) -> Catalog:
    """The clips of index rows, a table at a time, for which `where` holds.

    Raises:
        DatasetError: the rows contradict themselves
    """
    shards, identities = _Codes(), _Codes()
    parts: list[dict[str, NDArray[Any]]] = []
    keys: list[pa.Array] = []
    rows = 0
    for table in tables:
        numbered = table.append_column("_row", pa.array(np.arange(rows, rows + len(table))))
        rows += len(table)
        chosen = numbered if where is None else numbered.filter(where).sort_by("_row")
        if len(chosen):
            parts.append(_arrays(chosen.combine_chunks(), shards, identities))
            keys += chosen["key"].chunks
    pa.default_memory_pool().release_unused()  # a gigabyte, at 1.1 million clips
    parts = parts or [_no_arrays()]
    first = _starts(np.concatenate([part.pop("count") for part in parts]))
    named = tuple((split, name) for split, _, name in (code.partition("/") for code in shards.names))
    return _shared_catalog(
        [*parts, {"first": first}], pa.chunked_array(keys, pa.string()).combine_chunks(), named, identities.names
    )


def _shared_catalog(
    parts: list[dict[str, NDArray[Any]]], keys: pa.StringArray, shards: tuple[tuple[str, str], ...], identities: tuple[str, ...]
) -> Catalog:
    """A catalog of arrays that come in parts, which are used up: at 1.1 million clips a second copy would be felt."""
    pieces = {
        name: [part[name] for part in parts if name in part] for name in dict.fromkeys(name for part in parts for name in part)
    }
    layout = Layout(tuple((name, some[0].dtype.str, (sum(map(len, some)), *some[0].shape[1:])) for name, some in pieces.items()))
    memory = Shared.of_size(layout.bytes)
    arrays = layout.views(memory.block)
    for name, array in arrays.items():
        np.concatenate(pieces.pop(name), out=array)
        for part in parts:
            part.pop(name, None)
        array.flags.writeable = False
    return Catalog(arrays, keys, shards, identities, memory)


class _Codes:
    """Numbers for names, in the order in which they are met."""

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


def _arrays(table: pa.Table, shards: _Codes, identities: _Codes) -> dict[str, NDArray[Any]]:
    """The arrays of some rows, with `count`, frames a clip, in place of `first`."""
    for name in ("key", "split", "identity", "shard", "n_frames", "members"):
        if table[name].null_count:
            raise DatasetError(f"the index has no {name} for a clip: run dataset.verify")
    count = table["n_frames"].to_numpy().astype(np.int64)
    place = pc.binary_join_element_wise(table["split"], table["shard"], "/")
    return {
        "row": table["_row"].to_numpy(),
        "shard": shards.of(place),
        "identity": identities.of(table["identity"]),
        "count": count,
        **_members(table, count),
        "pose": np.stack([_of_frames(table, f"frame_{name}", count, np.nan, np.float32) for name in POSE], axis=1),
        "au_valid": _of_frames(table, "frame_au_valid", count, False, np.bool_),
    }


def _members(table: pa.Table, count: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    column = table["members"].combine_chunks()
    flat = column.flatten()
    clip = pc.list_parent_indices(column).to_numpy()
    suffix = flat.field("suffix")
    if flat.null_count or any(flat.field(place).null_count for place in ("suffix", "offset", "size", "crc32")):
        raise DatasetError("the index has members without a place: run dataset.verify")
    number = {name: flat.field(name).to_numpy().astype(np.int64) for name in ("offset", "size", "crc32")}
    if not ((number["offset"] >= 0) & (number["size"] >= 0) & (number["size"] < 2**32)).all():
        raise DatasetError("the index has members of impossible place or size: run dataset.verify")
    frames = pc.ends_with(suffix, ".jpg").to_numpy(zero_copy_only=False)
    if not np.array_equal(np.bincount(clip[frames], minlength=len(table)), count):
        raise DatasetError("the index lists other frames than it counts: run dataset.verify")
    return {
        "landmarks": _single(suffix, LANDMARKS, clip, number, len(table)),
        "aus": _single(suffix, AUS, clip, number, len(table)),
        "embedding": _single(suffix, IDENTITY, clip, number, len(table)),
        "frame_offset": number["offset"][frames],
        "frame_size": number["size"][frames].astype(np.uint32),
        "frame_crc": number["crc32"][frames].astype(np.uint32),
    }


def _single(
    suffix: pa.Array, name: str, clip: NDArray[Any], number: dict[str, NDArray[np.int64]], clips: int
) -> NDArray[np.int64]:
    """Offset, size and crc32 of the member of that name of each clip; zeros where it has none."""
    found = np.zeros((clips, 3), np.int64)
    here = pc.equal(suffix, name).to_numpy(zero_copy_only=False)
    found[clip[here]] = np.stack([number[one][here] for one in ("offset", "size", "crc32")], axis=1)
    return found


def _of_frames(table: pa.Table, name: str, count: NDArray[np.int64], absent: Any, dtype: Any) -> NDArray[Any]:
    """A list column as one value a frame; `absent` where a clip has no list."""
    column = table[name].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    if not ((lengths == count) | (lengths == 0)).all():
        raise DatasetError(f"{name} of the index has other lengths than the clips have frames: run dataset.verify")
    values = np.full(int(count.sum()), absent, dtype)
    flat = column.flatten()
    flat = pc.cast(flat, pa.float32()) if dtype is np.float32 else flat
    values[np.repeat(lengths == count, count)] = pc.fill_null(flat, absent).to_numpy(zero_copy_only=False)
    return values


def _no_arrays() -> dict[str, NDArray[Any]]:
    return _arrays(INDEX.empty_table().append_column("_row", pa.array([], pa.int64())), _Codes(), _Codes())


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def selecting(where: pc.Expression | None, split: str | None, identities: Sequence[str] | None) -> pc.Expression | None:
    """One condition of those that are given."""
    conditions = [] if where is None else [where]
    if split is not None:
        conditions.append(pc.field("split") == split)
    if identities is not None:
        conditions.append(pc.field("identity").isin(list(identities)))
    if not conditions:
        return None
    whole = conditions[0]
    for condition in conditions[1:]:
        whole = whole & condition
    return whole
