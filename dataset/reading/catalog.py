"""The catalog of the selected clips as flat arrays: where their frames are stored, and their measurements.

A catalog is of stills or of video. C: clips, F: described frames, which are the stills, or the measured frames of videos (the
index describes those only in datasets without stills); clip c has the described frames [first[c], first[c + 1]). Shown frames are
those that a view can pick: the stills, or all frames of the videos.

Size: 29 bytes per still, 13 per measured frame and about 100 to 200 per clip, or 0.6 GB for the 1.1 million clips of VoxCeleb2
with 16 stills each, in memory shared by the reading processes.
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
from motionshards.dataset.reading.shared_memory import SharedMemory
from motionshards.schemas.moving import measured_rows

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """The selected clips, in the order of the index.

    arrays:
        row: int64 [C], row number in the whole index
        shard: int32 [C], index into `shards`
        identity: int32 [C], index into `identities`
        first: int64 [C+1], number of the clip's first described frame
        landmarks, aus, embedding: int64 [C,3], offset, size and crc32 of the member; size 0 if the clip has none
        pose: float32 [F,3], yaw, pitch, roll in degrees, NaN where unknown
        au_valid: bool [F], whether the frame has valid action units
        frame_offset: int64 [F], bytes from the start of the tar (stills only)
        frame_size, frame_crc: uint32 [F] (stills only)
        video, sound: int64 [C,3], like `landmarks` (video only, as the following)
        video_frames: int64 [C], number of frames
        rate: int64 [C,2], frames per second as a fraction
        audio_hz: int64 [C], 0 without sound
    keys: keys of the clips
    shards: (split, name) of each shard
    identities: names of the identities
    kind: which frames are read
    memory: the shared memory of the arrays
    """

    arrays: Arrays = field(repr=False)
    keys: pa.StringArray = field(repr=False)
    shards: tuple[tuple[str, str], ...] = field(repr=False)
    identities: tuple[str, ...] = field(repr=False)
    kind: Kind
    memory: SharedMemory | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by copying: a process that does not inherit the shared memory gets its own."""
        return _shared_catalog, ([dict(self.arrays)], self.keys, self.shards, self.identities, self.kind)

    def __len__(self) -> int:
        return len(self.arrays["row"])

    @property
    def of_video(self) -> bool:
        """Whether the frames are those of videos."""
        return self.kind.shown == "video"

    @property
    def n_frames(self) -> I64:
        """Number of described frames per clip, int64 [C]."""
        counts: I64 = np.diff(self.arrays["first"])
        return counts

    @property
    def n_shown(self) -> I64:
        """Number of shown frames per clip, int64 [C]."""
        return self.arrays["video_frames"] if self.of_video else self.n_frames

    def frames_of(self, clip: I64) -> I64:
        """Number of described frames of some clips, int64 [B]."""
        first = self.arrays["first"]
        counts: I64 = first[clip + 1] - first[clip]
        return counts

    def shown_of(self, clip: I64) -> I64:
        """Number of shown frames of some clips, int64 [B]."""
        return self.arrays["video_frames"][clip] if self.of_video else self.frames_of(clip)

    def places_of(self, name: str, clip: I64) -> list[list[int]]:
        """Shard, offset, size and crc32 of a member of each clip, and the number of the clip's measured frames (whether or not
        the index describes them)."""
        rows = measured_rows(self.shown_of(clip), self.kind.every)
        places: list[list[int]] = np.column_stack([self.arrays["shard"][clip], self.arrays[name][clip], rows]).tolist()
        return places

    def as_shown(self, rows: I64) -> I64:
        """Numbers of the shown frames that belong to rows of measurements."""
        return rows * self.kind.every

    def rows_of(self, shown: I64) -> I64:
        """Rows of measurements of shown frames; -1 for frames that are not measured."""
        return np.where(shown % self.kind.every == 0, shown // self.kind.every, -1)

    def digest(self) -> str:
        """Digest of what the order and the picks of an epoch depend on: the clips, and their numbers of frames."""
        arrays = self.arrays
        content = (arrays["video"][:, 2], arrays["video_frames"]) if self.of_video else (arrays["frame_crc"],)
        parts = (arrays["row"], arrays["first"], arrays["identity"], arrays["shard"], *content)
        return hashlib.blake2b(b"".join(hashlib.blake2b(part.tobytes()).digest() for part in parts), digest_size=16).hexdigest()

    def select(self, keep: NDArray[np.bool_]) -> "Catalog":
        """A catalog of the clips for which `keep`, bool [C], is True."""
        if keep.all():
            return self
        frames = np.repeat(keep, self.n_frames)
        arrays = {name: array[frames if name in PER_FRAME else keep] for name, array in self.arrays.items() if name != "first"}
        arrays["first"] = _starts(self.n_frames[keep])
        return _shared_catalog([arrays], self.keys.filter(pa.array(keep)), self.shards, self.identities, self.kind)


def read_catalog(tables: Iterable[pa.Table], where: pc.Expression | None, kind: Kind) -> Catalog:
    """Catalog of the clips in tables of index rows that satisfy `where`.

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
    pa.default_memory_pool().release_unused()  # 1 GB with 1.1 million clips
    parts = parts or [no_arrays(kind)]
    first = _starts(np.concatenate([part.pop("count") for part in parts]))
    named = tuple((split, name) for split, _, name in (code.partition("/") for code in shards.names))
    return _shared_catalog(
        [*parts, {"first": first}], pa.chunked_array(keys, pa.string()).combine_chunks(), named, identities.names, kind
    )


def _shared_catalog(
    parts: list[Arrays], keys: pa.StringArray, shards: tuple[tuple[str, str], ...], identities: tuple[str, ...], kind: Kind
) -> Catalog:
    """A catalog of concatenated parts. Consumes `parts`: with 1.1 million clips, a second copy would take too much memory."""
    pieces = {
        name: [part[name] for part in parts if name in part] for name in dict.fromkeys(name for part in parts for name in part)
    }
    layout = Layout(tuple((name, some[0].dtype.str, (sum(map(len, some)), *some[0].shape[1:])) for name, some in pieces.items()))
    memory = SharedMemory.of_size(layout.bytes)
    arrays = layout.views(memory.block)
    for name, array in arrays.items():
        np.concatenate(pieces.pop(name), out=array)
        for part in parts:
            part.pop(name, None)
        array.flags.writeable = False
    return Catalog(arrays, keys, shards, identities, kind, memory)


def _starts(counts: I64) -> I64:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def all_conditions(where: pc.Expression | None, split: str | None, identities: Sequence[str] | None) -> pc.Expression | None:
    """The conjunction of the given conditions; None without any."""
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
