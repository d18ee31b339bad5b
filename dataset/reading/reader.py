"""Reads samples: verifies the members that a view needs, and decodes the picked frames and sound directly into the batch.

A clip that cannot be read is replaced by its next substitute. Substitutes are part of the order, so they are the same everywhere.
"""

import threading
import zlib
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
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
_MOST_EXPECTED = 1024  # more clips than a window of the order has


@dataclass(frozen=True, slots=True)
class Request:
    """The samples of a batch to read. Column 0 is the sample itself, the other columns are its substitutes.

    clip, turn: int64 [B,1+substitutes]
    """

    clip: I64
    turn: I64

    def part(self, start: int, count: int) -> "Request":
        """`count` samples from `start` on."""
        return Request(self.clip[start : start + count], self.turn[start : start + count])


class NothingReadable(Exception):
    """Neither a clip nor any of its substitutes can be read. `faults`: one per clip that was tried."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults


class Source(Protocol):
    """Where the bytes of shards come from, see `dataset.storage.shards.Shards`."""

    def read(self, shard: int, offset: int, size: int) -> bytes: ...

    def expect(self, shard: int, start: int, stop: int) -> None: ...


class Reader:
    """Reads samples of a view of a catalog. Thread-safe.

    warm: prefetch whole clips from disk, as their other frames will be read soon
    hold: called with the number of each clip before the calling thread reads it, and with -1 afterwards
    refused: clips that must not be read, as they crash the reading process; clips can be added at any time
    """

    def __init__(
        self,
        catalog: Catalog,
        view: View,
        seed: int,
        shards: Source,
        warm: bool,
        hold: Callable[[int], object] = lambda clip: None,
        refused: Iterable[int] = (),
    ) -> None:
        self._catalog, self._view, self._seed, self._shards, self._warm = catalog, view, seed, shards, warm
        self._hold, self.refused = hold, set(refused)
        self._of_thread = threading.local()
        self._expected: set[int] = set()

    def plan(self, request: Request, names: Container[str], column: int = 0) -> "Plan":
        """Look up what to read for a column of `request`. Vectorized: a hundred samples cost little more than one.

        names: names of the arrays to fill, see `batch_layout`
        """
        clip, arrays, places_of = request.clip[:, column], self._catalog.arrays, self._catalog.places_of
        picks = self._view.pick(self._catalog, self._seed, clip, request.turn[:, column])
        rows, first = self._catalog.rows_of(picks.frames), arrays["first"][clip][:, None]
        described = (rows >= 0) & (rows < self._catalog.frames_of(clip)[:, None])
        pose = np.full((*rows.shape, 3), _NAN)
        pose[described] = arrays["pose"][(first + rows)[described]]
        members = {name: places_of(name, clip) for name in ("landmarks", "aus", "embedding") if name in names}
        members |= {} if picks.audio_start is None else {"sound": places_of("sound", clip)}
        members |= {} if picks.other_clip is None else {"target_aus": places_of("aus", picks.other_clip)}
        if self._catalog.of_video:
            frames = [[place] for place in places_of("video", clip)]
        else:
            still = first + rows
            parts = [np.broadcast_to(arrays["shard"][clip][:, None], still.shape)]
            parts += [arrays[name][still] for name in ("frame_offset", "frame_size", "frame_crc")]
            frames = np.stack(parts, axis=-1).tolist()
        return Plan(request, picks, clip.tolist(), rows, bool((rows < 0).any()), pose, frames, members)

    def read(self, plan: "Plan", out: dict[str, NDArray[Any]], start: int, stop: int, first: int = 0) -> list[Fault]:
        """Read samples [first + start, first + stop) of a plan into rows [start, stop) of the arrays of `batch_layout`.

        Returns the faults of clips that were replaced.

        Raises:
            NothingReadable: a sample has no substitute left
        """
        faults: list[Fault] = []
        here, planned = slice(start, stop), slice(first + start, first + stop)
        out["clip"][here], out["number"][here], out["pose"][here] = (
            plan.clips[planned],
            plan.picks.frames[planned],
            plan.pose[planned],
        )
        try:
            for row in range(start, stop):
                try:
                    self._sample(plan, first + row, out, row)
                except _Unread as error:
                    place = {name: array[row : row + 1] for name, array in out.items()}
                    faults += self._replaced(plan.request.part(first + row, 1), place, [error.fault])
        finally:
            self._hold(-1)
        return faults

    def _replaced(self, request: Request, out: dict[str, NDArray[Any]], faults: list[Fault]) -> list[Fault]:
        """Read the first readable substitute of a sample."""
        for column in range(1, request.clip.shape[1]):
            try:
                plan = self.plan(request, out, column)
                out["clip"][:], out["number"][:], out["pose"][:] = plan.clips, plan.picks.frames, plan.pose
                self._sample(plan, 0, out, 0)
                return faults
            except _Unread as error:
                faults.append(error.fault)
        raise NothingReadable(faults)

    def _sample(self, plan: "Plan", sample: int, out: dict[str, NDArray[Any]], row: int) -> None:
        """Read one sample of a plan into a row of `out`. Raises _Unread."""
        clip = plan.clips[sample]
        self._hold(clip)
        try:
            if clip in self.refused:
                raise Unreadable("crashed", "reading it crashed a process of this loader")
            if self._warm and not self._catalog.of_video:  # a video is read whole
                self._expect(clip)
            with _undecodable():
                self._frames(plan, sample, out["frames"][row])
                self._others(plan, sample, out, row)
            if plan.picks.other_clip is not None and plan.picks.other_frame is not None:
                clip, frame = int(plan.picks.other_clip[sample]), plan.picks.other_frame[sample : sample + 1]
                with _undecodable():
                    out["target_aus"][row] = self._rows(AUS, plan.members["target_aus"][sample], frame)
        except Unreadable as error:
            raise _Unread(clip, error) from error

    def _frames(self, plan: "Plan", sample: int, out: NDArray[np.uint8]) -> None:
        """Decode the frames of a sample into uint8 [n,H,W,3]."""
        if self._catalog.of_video:
            self._frame_reader.into(self._content(plan.frames[sample][0]), plan.picks.frames[sample], out)
            return
        for row, place in zip(out, plan.frames[sample], strict=True):
            decode_into(self._content(place), row)

    def _others(self, plan: "Plan", sample: int, out: dict[str, NDArray[Any]], row: int) -> None:
        """Read everything but the frames of a sample."""
        members, rows = plan.members, plan.rows[sample]
        if "landmarks" in members:
            out["landmarks"][row] = self._points(members["landmarks"][sample], rows, plan.gaps)
        if "aus" in members:
            out["aus"][row] = self._rows(AUS, members["aus"][sample], rows, plan.gaps)
        if plan.picks.audio_start is not None:
            self._sound(self._content(members["sound"][sample]), int(plan.picks.audio_start[sample]), out["audio"][row])
        if "embedding" in members:
            out["embedding"][row] = self._embedding(members["embedding"][sample])

    @property
    def _frame_reader(self) -> "FrameReader":
        """The frame reader of the calling thread."""
        if not hasattr(self._of_thread, "frames"):
            from motionshards.transforms.extract.stored_video import FrameReader  # imports av, which stills do not need

            self._of_thread.frames = FrameReader()
        reader: FrameReader = self._of_thread.frames
        return reader

    def _sound(self, content: bytes, start: int, out: NDArray[np.float32]) -> None:
        from motionshards.transforms.extract.stored_video import read_stored_sound

        read_stored_sound(content, start, out)

    def _expect(self, clip: int) -> None:
        """Prefetch all frames of a clip from disk, unless done recently: the call takes a hundredth of the time of a sample."""
        if clip in self._expected:
            return
        if len(self._expected) >= _MOST_EXPECTED:
            self._expected.clear()
        self._expected.add(clip)
        arrays = self._catalog.arrays
        first, last = int(arrays["first"][clip]), int(arrays["first"][clip + 1]) - 1
        end = int(arrays["frame_offset"][last]) + int(arrays["frame_size"][last])
        self._shards.expect(int(arrays["shard"][clip]), int(arrays["frame_offset"][first]), end)

    def _points(self, place: list[int], rows: I64, gaps: bool) -> NDArray[Any]:
        """Landmarks of rows of a clip's measurements, float32 [n,68,2], in pixels of the frames that are read."""
        kind = self._catalog.kind
        if self._catalog.of_video:
            points = restored_px(self._rows(POINTS, place, rows, gaps, NO_POINT), *point_scale(kind.main_px))
        else:
            points = self._rows(LANDMARKS, place, rows, gaps)
        return scaled_px(points, kind.main_px, kind.size_px)

    def _rows(self, suffix: str, place: list[int], rows: I64, gaps: bool = False, absent: Any = _NAN) -> NDArray[Any]:
        """Rows of an npy member; `absent` if the clip has no such member and, with `gaps`, for row -1."""
        content = self._content(place)
        if not content:
            return np.array([absent])
        values: NDArray[Any] = array_member(suffix, content, place[-1])[rows]
        if gaps:
            values[rows < 0] = absent
        return values

    def embedding(self, clip: int) -> NDArray[np.float32]:
        """The face descriptor of a clip, float32 [128]; NaN if it has none. Raises Unreadable."""
        with _undecodable():
            return self._embedding(self._catalog.places_of("embedding", np.array([clip]))[0])

    def _embedding(self, place: list[int]) -> NDArray[np.float32]:
        content = self._content(place)
        return embedding_member(content) if content else np.array([_NAN])

    def _content(self, place: list[int]) -> bytes:
        """The content of a member, verified by CRC-32; empty if the clip has no such member."""
        shard, offset, size, crc = place[:4]
        content = self._shards.read(shard, offset, size) if size else b""
        if zlib.crc32(content) != crc:
            raise Unreadable("damaged", f"bytes {offset} to {offset + size} of the shard do not match the index")
        return content


@dataclass(frozen=True, slots=True)
class Plan:
    """Samples to read, with everything that was looked up for them.

    clips: the clip of each sample
    rows: int64 [B,n], row of measurements of each frame; -1 for frames that are not measured
    gaps: whether some frames are not measured
    pose: float32 [B,n,3]
    frames: per sample, the places of the members with its frames, see `Catalog.places_of`; for stills, without rows
    members: for each other member, its place per sample
    """

    request: Request
    picks: Picks
    clips: list[int]
    rows: I64
    gaps: bool
    pose: NDArray[np.float32]
    frames: list[list[list[int]]]
    members: dict[str, list[list[int]]]


class _Unread(Exception):
    """An Unreadable and its clip, which can differ from the sample's own clip (a target from another clip)."""

    def __init__(self, clip: int, error: Unreadable) -> None:
        super().__init__(clip, error)
        self.fault = Fault(clip, error.reason, error.detail)


@contextmanager
def _undecodable() -> Iterator[None]:
    """Turn the ValueError of a member that cannot be decoded into Unreadable."""
    try:
        yield
    except ValueError as error:
        raise Unreadable("undecodable", str(error)) from error
