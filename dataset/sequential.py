"""Shards read from front to back, where there is no index: from a pipe, a socket, a tape, or tars without their data set.

    TarStream([sys.stdin.buffer], Pairs(2), batch_size=20)
    TarStream(sorted(Path("OUT/train").glob("*.tar")), KPlusOne(8), batch_size=4)

Every byte is read, clips are mixed only within a window, nothing tells how many there are, and there is no resuming: where
there is an index, `ClipStream` is the better choice. But a tar that ends too early is noticed, as it is there.
"""

import io
import logging
import os
import tarfile
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np
import pyarrow as pa
import torch.utils.data
from numpy.typing import NDArray

from motionshards.dataset import arguments
from motionshards.dataset.reading.batch import Batch, as_batch, batch_layout
from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.index_arrays import POSE
from motionshards.dataset.reading.order import Order
from motionshards.dataset.reading.reader import Ask, NothingReadable, Reader
from motionshards.dataset.reading.view import View
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import AUS, IDENTITY, LANDMARKS, META
from motionshards.schemas.printable import printable
from motionshards.schemas.regular_file import open_regular
from motionshards.schemas.samples.encode import decode_arrays
from motionshards.transforms.extract.encode import square_side_px
from motionshards.transforms.extract.sample import stable_hash

logger = logging.getLogger("motionshards")

_STAND_INS = 8

Members = dict[str, bytes]


class TarStream(torch.utils.data.IterableDataset[Batch]):
    """Batches of the clips of tars, in one process. Each pass over files is the next epoch; a pipe can be read once.

    tars: a list of paths or binary streams
    window: clips that are held in memory and mixed; 1 leaves them in their order
    seed: of the order and of the frames that are picked
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
    ) -> None:
        arguments.one_of("on_error", on_error, ("skip", "raise"))
        if isinstance(tars, (str, os.PathLike)) or hasattr(tars, "read"):
            raise ConfigError(f"tars must be a list of paths or binary streams, not {tars!r}: write [{tars!r}]")
        self._tars, self._on_error = list(tars), on_error
        self._view, self._seed = arguments.view(view), arguments.seed(seed)
        self._batch_size = arguments.whole_number("batch_size", batch_size, 1)
        self._window = arguments.whole_number("window", window, 1)
        if view.per_identity:
            raise ConfigError("one clip per identity needs an index: a stream does not tell who is to come")
        self._epoch = self._size_px = 0
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
        self._size_px = 0
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
                for key, members in _samples(tar):
                    if (clip := self._checked(key, members)) is not None:
                        yield clip
            except Unreadable as error:
                self._fault(error)

    def _checked(self, key: str, members: Members) -> "_Clip | None":
        """The parsed clip, of the size of the first; None where it cannot be used, and that is counted."""
        try:
            clip = _Clip.of(key, members)
            self._size_px = self._size_px or clip.size_px
            if clip.size_px != self._size_px:
                raise ValueError(f"frames are of {clip.size_px} px, those before of {self._size_px}")
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
        window = _Window.of(clips)
        usable = np.ones(len(clips), np.bool_)
        for reason, without in self._view.unusable(window.catalog) if clips else ():
            self.excluded[reason] += int((usable & without).sum())
            usable &= ~without
        if not usable.all():
            clips = [clip for clip, shown in zip(clips, usable.tolist(), strict=True) if shown]
            window = _Window.of(clips)
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
        layout = batch_layout(len(ask.clip), self._view, window.catalog, self._size_px)
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
class _Clip:
    """A sample as it came, its meta.json parsed, and the side of its frames."""

    key: str
    members: Members
    meta: dict[str, Any]
    size_px: int

    @classmethod
    def of(cls, key: str, members: Members) -> "_Clip":
        """Raises ValueError: a member is not what a build writes."""
        jpegs = [content for suffix, content in members.items() if suffix.endswith(".jpg")]
        if not jpegs:
            raise ValueError("there are no frames")
        (size_px, *others) = {square_side_px(jpeg) for jpeg in jpegs}
        if others:
            raise ValueError("frames differ in size")
        return cls(key, members, decode_arrays(members, len(jpegs))["meta"], size_px)


@dataclass(frozen=True, slots=True)
class _Window:
    """Clips in memory as if they lay in a shard each: a catalog, and their bytes."""

    catalog: Catalog
    contents: list[bytes]

    @classmethod
    def of(cls, clips: list["_Clip"]) -> "_Window":
        keys = [clip.key for clip in clips]
        metas = [clip.meta for clip in clips]
        places = [_places(clip.members) for clip in clips]
        frames = [[place for suffix, place in one.items() if suffix.endswith(".jpg")] for one in places]
        numbers = np.array([place for clip in frames for place in clip], np.int64).reshape(-1, 3)
        names = sorted({meta["identity"] for meta in metas})
        arrays: dict[str, Any] = {
            "row": np.array([stable_hash(0, key) for key in keys], np.uint64).view(np.int64),
            "shard": np.arange(len(clips), dtype=np.int32),
            "identity": np.searchsorted(names, [meta["identity"] for meta in metas]).astype(np.int32),
            "first": np.concatenate([[0], np.cumsum([len(clip) for clip in frames])]).astype(np.int64),
            "frame_offset": numbers[:, 0],
            "frame_size": numbers[:, 1].astype(np.uint32),
            "frame_crc": numbers[:, 2].astype(np.uint32),
            "pose": np.concatenate([np.zeros((0, len(POSE)), np.float32), *map(_pose, metas)]),
            "au_valid": np.concatenate([np.zeros(0, np.bool_), *map(_au_valid, metas)]),
        }
        for name, suffix in (("landmarks", LANDMARKS), ("aus", AUS), ("embedding", IDENTITY)):
            arrays[name] = np.array([one.get(suffix, (0, 0, 0)) for one in places], np.int64).reshape(-1, 3)
        contents = [b"".join(clip.members.values()) for clip in clips]
        return cls(Catalog(arrays, pa.array(keys, pa.string()), (), tuple(names)), contents)

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """As `Shards.read`."""
        return self.contents[shard][offset : offset + size]

    def expect(self, shard: int, start: int, stop: int) -> None:
        """As `Shards.expect`: all is here."""


def _places(members: Members) -> dict[str, tuple[int, int, int]]:
    """Offset within the clip's bytes, size and CRC-32 of each member."""
    places, offset = {}, 0
    for suffix, content in members.items():
        places[suffix] = (offset, len(content), crc32(content))
        offset += len(content)
    return places


def _pose(meta: dict[str, Any]) -> NDArray[np.float32]:
    return np.array([meta[name] for name in POSE], np.float32).T


def _au_valid(meta: dict[str, Any]) -> NDArray[np.bool_]:
    return np.array(meta.get("au_valid", [False] * len(meta["pts_s"])), np.bool_)


class _Noting(io.RawIOBase):
    """A stream that remembers the last block of what was read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.last = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self.last = (self.last + content)[-tarfile.BLOCKSIZE :]
        return content


def _samples(tar: str | Path | BinaryIO) -> Iterator[tuple[str, Members]]:
    """The samples of a tar, each when all of it has come. Raises Unreadable."""
    if isinstance(tar, (str, Path)):
        try:
            with open_regular(Path(tar)) as stream:
                yield from _samples(stream)
        except OSError as error:
            raise Unreadable("missing", f"{tar}: {error.strerror}") from error
        return
    shown = str(getattr(tar, "name", "a stream"))
    noting = _Noting(tar)
    key, members = "", Members()
    try:
        with tarfile.open(fileobj=noting, mode="r|") as archive:
            while (member := _next_member(archive, shown)) is not None:
                whose, _, suffix = member[0].partition(".")  # keys have no dots, so this is theirs also where directories could
                if whose != key:
                    key, members = whose, Members()
                members[suffix] = member[1]
                if suffix == META:
                    yield key, members
                    members = Members()
    except (tarfile.TarError, OSError) as error:
        raise Unreadable("truncated", f"{shown}: {error}") from error
    while noting.read(1 << 20):
        pass  # to the end: a tar that was cut between two members ends without the blocks of zeros
    if noting.last != bytes(tarfile.BLOCKSIZE):
        raise Unreadable("truncated", f"{shown} ends without an end mark")


def _next_member(archive: tarfile.TarFile, shown: str) -> tuple[str, bytes] | None:
    """Name and content of the next file of a tar, None at its end. Raises Unreadable."""
    try:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # TarFile remembers all of them
            if info.issparse():  # which unpack to any size
                raise Unreadable("damaged", f"{shown}: {info.name} is a sparse file")
            if info.isreg() and (content := archive.extractfile(info)) is not None:
                return info.name, content.read()
            if not info.isdir():
                return info.name, b""  # links and devices have no content, so their clip is a fault
    except (Unreadable, tarfile.TarError, OSError):
        raise
    except Exception as error:  # a header can hold anything, and tarfile raises whatever comes of it
        raise Unreadable("damaged", f"{shown}: no tar: {error}") from error
    return None
