"""Reads samples: the members that a view needs, checked, and the chosen frames and sound decoded straight into the batch.

A clip that cannot be read is replaced by the next of its stand-ins, which are part of the order and so the same in any process.
"""

import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.faults import Fault
from motionshards.dataset.reading.order import I64
from motionshards.dataset.reading.view import Picks, View
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.layout import AUS, LANDMARKS, POINTS
from motionshards.schemas.moving import NO_POINT, point_scale, restored_px, scaled_px
from motionshards.schemas.samples.members import array_member, embedding_member
from motionshards.transforms.extract.encode import decode_into

if TYPE_CHECKING:
    from motionshards.transforms.extract.stored_video import FrameReader

_NAN = np.float32(np.nan)


@dataclass(frozen=True, slots=True)
class Ask:
    """The samples of a batch. Column 0 is what is wanted, the others stand in where it cannot be read.

    clip, turn: int64 [B,1+stand-ins]
    """

    clip: I64
    turn: I64


class NothingReadable(Exception):
    """Neither a clip nor any of its stand-ins can be read. `faults` tells of all of them."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults


class Source(Protocol):
    """Where the bytes of shards come from, see `dataset.storage.shards.Shards`."""

    def read(self, shard: int, offset: int, size: int) -> bytes: ...

    def expect(self, shard: int, start: int, stop: int) -> None: ...


class Reader:
    """Reads samples of one view of a catalog. Safe for threads.

    warm: the rest of a clip will be wanted soon, so let the disk read it at once
    holding: is entered with the number of each clip while that is read
    refused: clips that cannot be read by any process; others can be added at any time
    """

    def __init__(
        self,
        catalog: Catalog,
        view: View,
        seed: int,
        shards: Source,
        warm: bool,
        holding: Callable[[int], AbstractContextManager[object]] = nullcontext,
        refused: Iterable[int] = (),
    ) -> None:
        self._catalog, self._view, self._seed, self._shards, self._warm = catalog, view, seed, shards, warm
        self._holding, self.refused = holding, set(refused)
        self._of_thread = threading.local()

    def plan(self, ask: Ask, out: dict[str, NDArray[Any]], column: int = 0) -> "Plan":
        """What is to be read for a column of samples. Fills in what the catalog has of them: clip, number and pose."""
        clip, arrays = ask.clip[:, column], self._catalog.arrays
        picks = self._view.pick(self._catalog, self._seed, clip, ask.turn[:, column])
        rows, first = self._catalog.rows_of(picks.frames), arrays["first"][clip][:, None]
        described = (rows >= 0) & (rows < self._catalog.frames_of(clip)[:, None])
        out["clip"][:], out["number"][:], out["pose"][:] = clip, picks.frames, np.nan
        out["pose"][described] = arrays["pose"][(first + rows)[described]]
        if self._catalog.of_video:
            places = arrays["video"][clip][:, None]
        else:
            places = np.stack([arrays[name][first + rows] for name in ("frame_offset", "frame_size", "frame_crc")], axis=-1)
        return Plan(ask, picks, rows, arrays["shard"][clip].tolist(), places.tolist())

    def read(self, plan: "Plan", out: dict[str, NDArray[Any]], start: int, stop: int) -> list[Fault]:
        """Read samples [start, stop) into the arrays of `batch_layout`; tells what was replaced.

        Raises:
            NothingReadable: a sample has no stand-in left
        """
        faults: list[Fault] = []
        for sample in range(start, stop):
            try:
                self._held(plan, sample, {name: array[sample] for name, array in out.items()})
            except _Unread as error:
                faults += self._replaced(plan.ask, sample, out, [error.fault])
        return faults

    def _replaced(self, ask: Ask, sample: int, out: dict[str, NDArray[Any]], faults: list[Fault]) -> list[Fault]:
        """Read the first stand-in that can be read."""
        here = slice(sample, sample + 1)
        one, place = Ask(ask.clip[here], ask.turn[here]), {name: array[here] for name, array in out.items()}
        for column in range(1, ask.clip.shape[1]):
            try:
                self._held(self.plan(one, place, column), 0, {name: array[0] for name, array in place.items()})
                return faults
            except _Unread as error:
                faults.append(error.fault)
        raise NothingReadable(faults)

    def _held(self, plan: "Plan", sample: int, out: dict[str, NDArray[Any]]) -> None:
        with self._holding(int(out["clip"])):
            self._sample(plan, sample, out)

    def _sample(self, plan: "Plan", sample: int, out: dict[str, NDArray[Any]]) -> None:
        """Read one sample of a plan. Raises _Unread."""
        picks, clip = plan.picks, int(out["clip"])
        try:
            if clip in self.refused:
                raise Unreadable("crashed", "reading it ended a process of this loader")
            if self._warm and not self._catalog.of_video:  # a video is read whole
                self._expect(clip)
            self._frames(plan, sample, out["frames"])
            if "landmarks" in out:
                out["landmarks"][...] = self._points(clip, plan.rows[sample])
            if "aus" in out:
                out["aus"][...] = self._array(clip, "aus", AUS, plan.rows[sample])
            if picks.audio_start is not None:
                self._sound(clip, int(picks.audio_start[sample]), out["audio"])
            if "embedding" in out:
                out["embedding"][...] = self.embedding(clip)
        except Unreadable as error:
            raise _Unread(clip, error) from error
        if picks.other_clip is not None and picks.other_frame is not None:
            out["target_aus"][...] = self._target(int(picks.other_clip[sample]), picks.other_frame[sample])

    def _target(self, clip: int, frame: I64) -> NDArray[Any]:
        try:
            return self._array(clip, "aus", AUS, frame)
        except Unreadable as error:
            raise _Unread(clip, error) from error

    def _frames(self, plan: "Plan", sample: int, out: NDArray[np.uint8]) -> None:
        """Decode the frames of a sample into uint8 [n,H,W,3]."""
        contents = (self._member(plan.shards[sample], *place) for place in plan.places[sample])
        with _undecodable():
            if self._catalog.of_video:
                self._frame_reader.into(next(contents), plan.picks.frames[sample], out)
                return
            for row, jpeg in zip(out, contents, strict=True):
                decode_into(jpeg, row)

    @property
    def _frame_reader(self) -> "FrameReader":
        """This thread's."""
        if not hasattr(self._of_thread, "frames"):
            from motionshards.transforms.extract.stored_video import FrameReader  # imports av, which stills do not need

            self._of_thread.frames = FrameReader()
        reader: FrameReader = self._of_thread.frames
        return reader

    def _sound(self, clip: int, start: int, out: NDArray[np.float32]) -> None:
        from motionshards.transforms.extract.stored_video import read_stored_sound

        content = self._content(clip, "sound")
        with _undecodable():
            read_stored_sound(content, start, out)

    def _expect(self, clip: int) -> None:
        """Let the disk read all frames of a clip."""
        arrays = self._catalog.arrays
        first, last = int(arrays["first"][clip]), int(arrays["first"][clip + 1]) - 1
        end = int(arrays["frame_offset"][last]) + int(arrays["frame_size"][last])
        self._shards.expect(int(arrays["shard"][clip]), int(arrays["frame_offset"][first]), end)

    def _points(self, clip: int, rows: I64) -> NDArray[Any]:
        """Landmarks of rows of a clip's measures, float32 [n,68,2], in pixels of the frames that are read."""
        kind = self._catalog.kind
        if self._catalog.of_video:
            points = restored_px(self._array(clip, "landmarks", POINTS, rows, NO_POINT), *point_scale(kind.main_px))
        else:
            points = self._array(clip, "landmarks", LANDMARKS, rows)
        return scaled_px(points, kind.main_px, kind.size_px)

    def _array(self, clip: int, name: str, suffix: str, rows: I64, absent: Any = _NAN) -> NDArray[Any]:
        """Rows of a clip's npy member; `absent` for the row -1, and where the clip has no such member."""
        content = self._content(clip, name)
        if not content:
            return np.array([absent])
        with _undecodable():
            values = array_member(suffix, content, self._catalog.rows_in(clip))[rows]
        if (rows < 0).any():
            values[rows < 0] = absent
        return values

    def embedding(self, clip: int) -> NDArray[np.float32]:
        """The face descriptor of a clip, float32 [128]; NaN where it has none. Raises Unreadable."""
        content = self._content(clip, "embedding")
        if not content:
            return np.array([_NAN])
        with _undecodable():
            return embedding_member(content)

    def _content(self, clip: int, name: str) -> bytes:
        """The content of a clip's member; nothing where it has none."""
        offset, size, crc = self._catalog.arrays[name][clip].tolist()
        return self._member(int(self._catalog.arrays["shard"][clip]), offset, size, crc) if size else b""

    def _member(self, shard: int, offset: int, size: int, crc: int) -> bytes:
        content = self._shards.read(shard, offset, size)
        if zlib.crc32(content) != crc:
            raise Unreadable("damaged", f"bytes {offset} to {offset + size} of the shard are not what the index says")
        return content


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch to be read, with all that can be looked up for it at once.

    rows: int64 [B,n], of the clips' measures, for each frame; -1 for frames that are not measured
    shards: of each sample
    places: of each sample, offset, size and CRC-32 of the members that have its frames
    """

    ask: Ask
    picks: Picks
    rows: I64
    shards: list[int]
    places: list[list[list[int]]]


class _Unread(Exception):
    """An Unreadable, and the clip that it is about, which can be another than the sample's own."""

    def __init__(self, clip: int, error: Unreadable) -> None:
        super().__init__(clip, error)
        self.fault = Fault(clip, error.reason, error.detail)


@contextmanager
def _undecodable() -> Iterator[None]:
    """A member that is not what its name says becomes Unreadable."""
    try:
        yield
    except ValueError as error:
        raise Unreadable("undecodable", str(error)) from error
