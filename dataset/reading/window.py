"""Clips in memory, for streams without an index: their catalog and their bytes."""

from dataclasses import dataclass
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.index_arrays import POSE, Kind
from motionshards.dataset.storage.tar_samples import Members
from motionshards.schemas.layout import AUS, IDENTITY, LANDMARKS, POINTS, SOUND, VIDEO, is_main_frame, smaller_size, suffix_at
from motionshards.schemas.moving import size_of
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.transforms.extract.encode import square_side_px
from motionshards.transforms.extract.sample import stable_hash

Places: TypeAlias = dict[str, tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class HeldClip:
    """A sample with its parsed meta.json. `members` has stills and video of one size only, under the names of the main size."""

    key: str
    members: Members
    meta: dict[str, Any]
    kind: Kind

    @classmethod
    def of(cls, key: str, members: Members, frames: str, size: int | None) -> "HeldClip":
        """Parse a clip.

        frames: `"stills"` or `"video"`, if it has both
        size: height and width of the frames to read, in pixels; None for the dataset's size

        Raises:
            ConfigError: frames are not stored at that size
            ValueError: a member is not what a build writes
        """
        jpegs = _jpegs(members)
        meta = decode_arrays(members, len(jpegs) or None)["meta"]
        smaller = sorted({size_px for suffix in members if (size_px := smaller_size(suffix))}, reverse=True)
        if VIDEO in meta and (frames == "video" or not jpegs):
            video = meta[VIDEO]
            main_px = size_of(video["point_units"], video["point_offset_px"])
            kind = Kind.of("video", (main_px, *smaller), size, video["every"])
        elif jpegs:
            kind = Kind.of("stills", (square_side_px(jpegs[0]), *smaller), size)
        else:
            raise ValueError("there are no frames")
        read = {name: content for suffix, content in members.items() if (name := suffix_at(suffix, kind.smaller_px))}
        if len(read_jpegs := _jpegs(read)) != len(jpegs):
            raise ValueError(f"there are {len(read_jpegs)} frames of {kind.size_px} px, but {len(jpegs)} of {kind.main_px} px")
        if kind.shown == "stills" and any(square_side_px(jpeg) != kind.size_px for jpeg in read_jpegs):
            raise ValueError("frames differ in size")
        return cls(key, read, meta, kind)

    @property
    def described(self) -> bool:
        """Whether its measurements belong to the frames that are read."""
        return self.kind.shown == "stills" or "000.jpg" not in self.members


@dataclass(frozen=True, slots=True)
class Window:
    """Clips in memory, each as a shard of its own: a catalog, and the bytes of each clip."""

    catalog: Catalog
    contents: list[bytes]

    @classmethod
    def of(cls, clips: list["HeldClip"], kind: Kind) -> "Window":
        keys = [clip.key for clip in clips]
        places = [_places(clip.members) for clip in clips]
        names = sorted({clip.meta["identity"] for clip in clips})
        poses = [_pose(clip.meta) if clip.described else np.zeros((0, len(POSE)), np.float32) for clip in clips]
        valid = [_au_valid(clip.meta) if clip.described else np.zeros(0, np.bool_) for clip in clips]
        arrays: dict[str, Any] = {
            "row": np.array([stable_hash(0, key) for key in keys], np.uint64).view(np.int64),
            "shard": np.arange(len(clips), dtype=np.int32),
            "identity": np.searchsorted(names, [clip.meta["identity"] for clip in clips]).astype(np.int32),
            "first": np.concatenate([[0], np.cumsum([len(one) for one in poses])]).astype(np.int64),
            "pose": np.concatenate([np.zeros((0, len(POSE)), np.float32), *poses]),
            "au_valid": np.concatenate([np.zeros(0, np.bool_), *valid]),
            "aus": _single([place if clip.described else {} for clip, place in zip(clips, places, strict=True)], AUS),
            "embedding": _single(places, IDENTITY),
            **(_stills(places) if kind.shown == "stills" else _video(places, [clip.meta for clip in clips])),
        }
        contents = [b"".join(clip.members.values()) for clip in clips]
        return cls(Catalog(arrays, pa.array(keys, pa.string()), (), tuple(names), kind), contents)

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """See `Shards.read`."""
        return self.contents[shard][offset : offset + size]

    def expect(self, shard: int, start: int, stop: int) -> None:
        """See `Shards.expect`; nothing to do, as all bytes are in memory."""


def _jpegs(members: Members) -> list[bytes]:
    """Stills at the dataset's size."""
    return [content for suffix, content in members.items() if is_main_frame(suffix)]


def _places(members: Members) -> Places:
    """Offset within the clip's bytes, size and CRC-32 of each member."""
    places, offset = {}, 0
    for suffix, content in members.items():
        places[suffix] = (offset, len(content), crc32(content))
        offset += len(content)
    return places


def _single(places: list[Places], suffix: str) -> NDArray[np.int64]:
    return np.array([one.get(suffix, (0, 0, 0)) for one in places], np.int64).reshape(-1, 3)


def _stills(places: list[Places]) -> dict[str, NDArray[Any]]:
    frames = [place for one in places for suffix, place in one.items() if is_main_frame(suffix)]
    offset, size, crc = np.array(frames, np.int64).reshape(-1, 3).T
    sizes: dict[str, NDArray[Any]] = {
        "frame_offset": offset,
        "frame_size": size.astype(np.uint32),
        "frame_crc": crc.astype(np.uint32),
    }
    return {**sizes, "landmarks": _single(places, LANDMARKS)}


def _video(places: list[Places], metas: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    return {
        "video": _single(places, VIDEO),
        "sound": _single(places, SOUND),
        "landmarks": _single(places, POINTS),
        "video_frames": np.array([meta[VIDEO]["frames"] for meta in metas], np.int64),
        "rate": np.array([meta[VIDEO]["rate"] for meta in metas], np.int64).reshape(-1, 2),
        "audio_hz": np.array([meta.get(SOUND, {"hz": 0})["hz"] for meta in metas], np.int64),
    }


def _pose(meta: dict[str, Any]) -> NDArray[np.float32]:
    return np.array([meta[name] for name in POSE], np.float32).T


def _au_valid(meta: dict[str, Any]) -> NDArray[np.bool_]:
    return np.array(meta.get("au_valid", [False] * len(meta["pts_s"])), np.bool_)
