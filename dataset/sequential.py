"""Shards read from front to back, where there is no index: from a pipe, a socket, a tape, or tars without their data set.

    TarStream([sys.stdin.buffer], Pairs(2), batch_size=20)
    TarStream(sorted(Path("OUT/train").glob("*.tar")), KPlusOne(8), batch_size=4)

Every byte is read, clips are mixed only within a window, nothing tells how many there are, and there is no resuming: where
there is an index, `ClipStream` is the better choice. But a tar that ends too early is noticed, as it is there.
"""

import logging
import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias
from zlib import crc32

import numpy as np
import pyarrow as pa
import torch.utils.data
from numpy.typing import NDArray

from motionshards.dataset import arguments
from motionshards.dataset.reading.batch import Batch, as_batch, batch_layout
from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.index_arrays import POSE, Shown
from motionshards.dataset.reading.order import Order
from motionshards.dataset.reading.reader import Ask, NothingReadable, Reader
from motionshards.dataset.reading.view import View
from motionshards.dataset.storage.tar_samples import Members, samples_of
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import AUS, IDENTITY, LANDMARKS, POINTS, SOUND, VIDEO
from motionshards.schemas.moving import size_of
from motionshards.schemas.printable import printable
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.transforms.extract.encode import square_side_px
from motionshards.transforms.extract.sample import stable_hash

logger = logging.getLogger("motionshards")

_STAND_INS = 8

Places: TypeAlias = dict[str, tuple[int, int, int]]


class TarStream(torch.utils.data.IterableDataset[Batch]):
    """Batches of the clips of tars, in one process. Each pass over files is the next epoch; a pipe can be read once.

    tars: a list of paths or binary streams
    window: clips that are held in memory and mixed; 1 leaves them in their order
    seed: of the order and of the frames that are picked
    frames: `"stills"` or `"video"` of clips that have both; by default what the view prefers
    on_error: `skip` leaves out, and counts in `faults`, the rest of a tar that cannot be read further and clips that are not what
        a build writes; a clip of which only the pixels are damaged is replaced by another. `raise` ends the run at either

    A last batch that is not full is dropped. Clips that the view cannot show are counted in `excluded`.

    Raises:
        ConfigError: an argument is not of its kind, or the view needs an index
    """

    def __init__(
        self,
        tars: Iterable[str | Path | BinaryIO],
        view: View,
        *,
        batch_size: int,
        window: int = 256,
        seed: int = 0,
        on_error: str = "raise",
        frames: str | None = None,
    ) -> None:
        arguments.one_of("on_error", on_error, ("skip", "raise"))
        arguments.one_of("frames", frames, (None, "stills", "video"))
        if isinstance(tars, (str, os.PathLike)) or hasattr(tars, "read"):
            raise ConfigError(f"tars must be a list of paths or binary streams, not {tars!r}: write [{tars!r}]")
        self._tars, self._on_error = list(tars), on_error
        self._view, self._seed = arguments.view(view), arguments.seed(seed)
        self._batch_size = arguments.whole_number("batch_size", batch_size, 1)
        self._window = arguments.whole_number("window", window, 1)
        if view.per_identity:
            raise ConfigError("one clip per identity needs an index: a stream does not tell who is to come")
        preferred: str = getattr(view, "prefers", "stills")
        self._frames = frames or preferred
        self._epoch = 0
        self._kind: _Kind | None = None
        self.faults: Counter[str] = Counter()
        self.excluded: Counter[str] = Counter()

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass be this epoch."""
        self._epoch = arguments.whole_number("epoch", epoch, 0)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the next epoch. A pass counts as an epoch once it has yielded a batch.

        Raises:
            ConfigError: this is a worker of a DataLoader
            DatasetError: a tar or a clip cannot be read, see `on_error`
        """
        if torch.utils.data.get_worker_info() is not None:
            raise ConfigError("TarStream reads in one process, and each worker would read all of it: use num_workers=0")
        epoch = self._epoch
        for number, batch in enumerate(self._pass(epoch)):
            if number == 0:
                self._epoch = epoch + 1
            yield batch

    def _pass(self, epoch: int) -> Iterator[Batch]:
        self._kind = None
        left: list[_Clip] = []
        clips = self._clips()
        ended = False
        while not ended:
            for clip in clips:
                left.append(clip)
                if len(left) >= max(self._window, self._batch_size):
                    break
            else:
                ended = True
            left = yield from self._batches(left, epoch)

    def _clips(self) -> Iterator["_Clip"]:
        for tar in self._tars:
            try:
                for key, members in samples_of(tar):
                    if (clip := self._checked(key, members)) is not None:
                        yield clip
            except Unreadable as error:
                self._fault(error)

    def _checked(self, key: str, members: Members) -> "_Clip | None":
        """The parsed clip, of the kind of the first; None where it cannot be used, and that is counted."""
        try:
            clip = _Clip.of(key, members, self._frames)
            self._kind = self._kind or clip.kind
            if clip.kind != self._kind:
                raise ValueError(f"frames are {clip.kind}, those before are {self._kind}")
            return clip
        except ValueError as error:
            self._fault(Unreadable("undecodable", f"{key}: {error}"))
        return None

    def _fault(self, error: Unreadable) -> None:
        if self._on_error == "raise":
            raise DatasetError(f"{error.detail}: {error.reason}") from error
        self.faults[error.reason] += 1
        logger.warning("%s: %s, skipped", printable(error.detail), error.reason)

    def _batches(self, clips: list["_Clip"], epoch: int) -> Generator[Batch, None, list["_Clip"]]:
        """Batches of a window; gives the clips that did not fill one."""
        kind = self._kind or _Kind("stills", 0)
        window = _Window.of(clips, kind)
        usable = np.ones(len(clips), np.bool_)
        for reason, without in self._view.unusable(window.catalog) if clips else ():
            self.excluded[reason] += int((usable & without).sum())
            usable &= ~without
        if not usable.all():
            clips = [clip for clip, shown in zip(clips, usable.tolist(), strict=True) if shown]
            window = _Window.of(clips, kind)
        shuffle = "none" if self._window == 1 else "global"
        order = Order(np.zeros(len(clips), np.int64), self._seed, shuffle).slots(epoch, np.arange(len(clips)))
        whole = len(clips) // self._batch_size * self._batch_size
        stand_ins = _STAND_INS if self._on_error == "skip" else 0
        for start in range(0, whole, self._batch_size):
            numbers = np.arange(start, start + self._batch_size)
            columns = np.concatenate([numbers[:, None], (numbers[:, None] + 1 + np.arange(stand_ins)) % len(clips)], axis=1)
            yield self._read(window, Ask(order.unit[columns], order.turn[columns]))
        return [clips[number] for number in order.unit[whole:]]

    def _read(self, window: "_Window", ask: Ask) -> Batch:
        reader = Reader(window.catalog, self._view, self._seed, window, warm=False)
        layout = batch_layout(len(ask.clip), self._view, window.catalog, window.kind.size_px)
        arrays = {name: np.empty(shape, dtype) for name, dtype, shape in layout.arrays}
        try:
            faults = reader.read(reader.plan(ask, arrays), arrays, 0, len(ask.clip))
        except NothingReadable as error:
            fault = error.faults[0]
            raise DatasetError(f"{window.catalog.keys[fault.clip].as_py()}: {fault.reason}: {fault.detail}") from error
        for one in faults:
            self._fault(Unreadable(one.reason, f"{window.catalog.keys[one.clip].as_py()}: {one.detail}"))
        return as_batch(arrays, window.catalog, np.zeros(len(ask.clip), np.bool_))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the frames of clips are: stills or video, of which size; of video, each `every`-th is measured."""

    shown: Shown
    size_px: int
    every: int = 1

    def __str__(self) -> str:
        return f"{self.shown} of {self.size_px} px" + (f", measured every {self.every}" if self.shown == "video" else "")


@dataclass(frozen=True, slots=True)
class _Clip:
    """A sample as it came, and its meta.json parsed."""

    key: str
    members: Members
    meta: dict[str, Any]
    kind: _Kind

    @classmethod
    def of(cls, key: str, members: Members, frames: str) -> "_Clip":
        """A clip of which these frames are read where it has both. Raises ValueError: a member is not what a build writes."""
        jpegs = [content for suffix, content in members.items() if suffix.endswith(".jpg")]
        meta = decode_arrays(members, len(jpegs) or None)["meta"]
        if VIDEO in meta and (frames == "video" or not jpegs):
            video = meta[VIDEO]
            return cls(
                key, members, meta, _Kind("video", size_of(video["point_units"], video["point_offset_px"]), video["every"])
            )
        if not jpegs:
            raise ValueError("there are no frames")
        (size_px, *others) = {square_side_px(jpeg) for jpeg in jpegs}
        if others:
            raise ValueError("frames differ in size")
        return cls(key, members, meta, _Kind("stills", size_px))

    @property
    def described(self) -> bool:
        """Whether its lists are about the frames that are read."""
        return self.kind.shown == "stills" or "000.jpg" not in self.members


@dataclass(frozen=True, slots=True)
class _Window:
    """Clips in memory as if each were a shard: a catalog, and their bytes."""

    catalog: Catalog
    contents: list[bytes]
    kind: _Kind

    @classmethod
    def of(cls, clips: list["_Clip"], kind: _Kind) -> "_Window":
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
        return cls(Catalog(arrays, pa.array(keys, pa.string()), (), tuple(names), every=kind.every), contents, kind)

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """As `Shards.read`."""
        return self.contents[shard][offset : offset + size]

    def expect(self, shard: int, start: int, stop: int) -> None:
        """As `Shards.expect`: all is here."""


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
    frames = [place for one in places for suffix, place in one.items() if suffix.endswith(".jpg")]
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
