"""What reading needs to know of the chosen clips, as flat arrays: where their frames are stored, and what was measured.

C counts the clips. A catalog is of stills or of video. F counts the described frames: the stills, or the measured frames of
videos, which the index describes only where there are no stills. Those of clip c are [first[c], first[c + 1]). Shown frames are
those that a view can choose: the stills, or all frames of the videos.

29 bytes per still, 13 per measured frame, some 100 to 200 per clip: 0.6 GB for the 1.1 million clips of VoxCeleb2 at 16 stills,
in memory that the reading processes share.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from motionshards.dataset.reading.index_arrays import PER_FRAME, Arrays, Codes, Kind, arrays_of, no_arrays
from motionshards.dataset.reading.layout import Layout
from motionshards.dataset.reading.shared_memory import Shared
from motionshards.schemas.moving import measured_rows

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """The chosen clips, in the order of the index.

    arrays:
        row: int64 [C], number of the clip in the whole index
        shard: int32 [C], which of `shards` it is in
        identity: int32 [C], which of `identities` it shows
        first: int64 [C+1], number of its first described frame among all
        landmarks, aus, embedding: int64 [C,3], offset, size and crc32 of the member; size 0 where there is none
        pose: float32 [F,3], yaw, pitch, roll in degrees, NaN where unknown
        au_valid: bool [F]
        frame_offset: int64 [F], bytes from the start of the tar; only of stills, as the next
        frame_size, frame_crc: uint32 [F]
        video, sound: int64 [C,3], as `landmarks`; only of video, as the next
        video_frames: int64 [C]
        rate: int64 [C,2], frames per second as a fraction
        audio_hz: int64 [C], 0 where there is no sound
    keys: of the clips, strings
    shards: (split, name) of each
    identities: names
    kind: which frames are read
    memory: where the arrays lie
    """

    arrays: Arrays = field(repr=False)
    keys: pa.StringArray = field(repr=False)
    shards: tuple[tuple[str, str], ...] = field(repr=False)
    identities: tuple[str, ...] = field(repr=False)
    kind: Kind
    memory: Shared | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """By copy: a process that does not inherit the memory gets its own."""
        return _shared_catalog, ([dict(self.arrays)], self.keys, self.shards, self.identities, self.kind)

    def __len__(self) -> int:
        return len(self.arrays["row"])

    @property
    def of_video(self) -> bool:
        """Whether the frames are those of videos."""
        return self.kind.shown == "video"

    @property
    def n_frames(self) -> I64:
        """How many described frames each clip has, int64 [C]."""
        counts: I64 = np.diff(self.arrays["first"])
        return counts

    @property
    def n_shown(self) -> I64:
        """How many shown frames each clip has, int64 [C]."""
        return self.arrays["video_frames"] if self.of_video else self.n_frames

    def frames_of(self, clip: I64) -> I64:
        """How many described frames the clips of these numbers have, int64 [B]."""
        first = self.arrays["first"]
        counts: I64 = first[clip + 1] - first[clip]
        return counts

    def shown_of(self, clip: I64) -> I64:
        """How many shown frames the clips of these numbers have, int64 [B]."""
        return self.arrays["video_frames"][clip] if self.of_video else self.frames_of(clip)

    def places_of(self, name: str, clip: I64) -> list[list[int]]:
        """Shard, offset, size and crc32 of the member of that name of each clip, and how many of the clip's frames are measured,
        whether or not the index describes them."""
        rows = measured_rows(self.shown_of(clip), self.kind.every)
        places: list[list[int]] = np.column_stack([self.arrays["shard"][clip], self.arrays[name][clip], rows]).tolist()
        return places

    def as_shown(self, rows: I64) -> I64:
        """The shown frames that are rows of a clip's measures."""
        return rows * self.kind.every

    def rows_of(self, shown: I64) -> I64:
        """The rows of a clip's measures in which shown frames are; -1 for those that are not measured."""
        return np.where(shown % self.kind.every == 0, shown // self.kind.every, -1)

    def digest(self) -> str:
        """What the order and the picks of an epoch depend on: which clips there are, and how many frames they have."""
        arrays = self.arrays
        content = (arrays["video"][:, 2], arrays["video_frames"]) if self.of_video else (arrays["frame_crc"],)
        parts = (arrays["row"], arrays["first"], arrays["identity"], arrays["shard"], *content)
        return hashlib.blake2b(b"".join(hashlib.blake2b(part.tobytes()).digest() for part in parts), digest_size=16).hexdigest()

    def taking(self, keep: NDArray[np.bool_]) -> "Catalog":
        """The clips for which `keep`, bool [C], is true."""
        if keep.all():
            return self
        frames = np.repeat(keep, self.n_frames)
        arrays = {name: array[frames if name in PER_FRAME else keep] for name, array in self.arrays.items() if name != "first"}
        arrays["first"] = _starts(self.n_frames[keep])
        return _shared_catalog([arrays], self.keys.filter(pa.array(keep)), self.shards, self.identities, self.kind)


def read_catalog(tables: Iterable[pa.Table], where: pc.Expression | None, kind: Kind) -> Catalog:
    """The clips of index rows, a table at a time, for which `where` holds.

    Raises:
        DatasetError: the rows contradict themselves
    """
    shards, identities = Codes(), Codes()
    parts: list[Arrays] = []
    keys: list[pa.Array] = []
    rows = 0
    for table in tables:
        numbered = table.append_column("_row", pa.array(np.arange(rows, rows + len(table))))
        rows += len(table)
        chosen = numbered if where is None else numbered.filter(where).sort_by("_row")
        if len(chosen):
            parts.append(arrays_of(chosen.combine_chunks(), shards, identities, kind))
            keys += chosen["key"].chunks
    pa.default_memory_pool().release_unused()  # a gigabyte, at 1.1 million clips
    parts = parts or [no_arrays(kind)]
    first = _starts(np.concatenate([part.pop("count") for part in parts]))
    named = tuple((split, name) for split, _, name in (code.partition("/") for code in shards.names))
    return _shared_catalog(
        [*parts, {"first": first}], pa.chunked_array(keys, pa.string()).combine_chunks(), named, identities.names, kind
    )


def _shared_catalog(
    parts: list[Arrays], keys: pa.StringArray, shards: tuple[tuple[str, str], ...], identities: tuple[str, ...], kind: Kind
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
    return Catalog(arrays, keys, shards, identities, kind, memory)


def _starts(counts: I64) -> I64:
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
