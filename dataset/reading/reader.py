"""Reads samples: the members that a view wants, checked, and the chosen frames decoded straight into the batch.

A clip that cannot be read is replaced by the next of its stand-ins, which are part of the order and so the same in any process.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.faults import Fault
from motionshards.dataset.reading.order import I64
from motionshards.dataset.reading.view import Picks, View
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.samples.members import array_member, embedding_member
from motionshards.transforms.extract.encode import decode_into

_NAN = np.array(np.nan, np.float32)


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
    """

    def __init__(self, catalog: Catalog, view: View, seed: int, shards: Source, warm: bool) -> None:
        self._catalog, self._view, self._seed, self._shards, self._warm = catalog, view, seed, shards, warm

    def plan(self, ask: Ask, out: dict[str, NDArray[Any]], column: int = 0) -> "Plan":
        """What is to be read for a column of samples. Fills in what the catalog tells of them: clip, number and pose."""
        clip, arrays = ask.clip[:, column], self._catalog.arrays
        picks = self._view.pick(self._catalog, self._seed, clip, ask.turn[:, column])
        frame = arrays["first"][clip][:, None] + picks.frames
        out["clip"][:], out["number"][:], out["pose"][:] = clip, picks.frames, arrays["pose"][frame]
        places = np.stack([arrays[name][frame] for name in ("frame_offset", "frame_size", "frame_crc")], axis=-1)
        return Plan(ask, picks, arrays["shard"][clip].tolist(), places.tolist())

    def read(self, plan: "Plan", out: dict[str, NDArray[Any]], start: int, stop: int) -> list[Fault]:
        """Read samples [start, stop) into the arrays of `batch_layout`; tells what was replaced.

        Raises:
            NothingReadable: a sample has no stand-in left
        """
        faults: list[Fault] = []
        for sample in range(start, stop):
            try:
                self._sample(plan, sample, {name: array[sample] for name, array in out.items()})
            except _Unread as error:
                faults += self._replaced(plan.ask, sample, out, [error.fault])
        return faults

    def _replaced(self, ask: Ask, sample: int, out: dict[str, NDArray[Any]], faults: list[Fault]) -> list[Fault]:
        """Read the first stand-in that can be read."""
        here = slice(sample, sample + 1)
        one, place = Ask(ask.clip[here], ask.turn[here]), {name: array[here] for name, array in out.items()}
        for column in range(1, ask.clip.shape[1]):
            try:
                self._sample(self.plan(one, place, column), 0, {name: array[0] for name, array in place.items()})
                return faults
            except _Unread as error:
                faults.append(error.fault)
        raise NothingReadable(faults)

    def _sample(self, plan: "Plan", sample: int, out: dict[str, NDArray[Any]]) -> None:
        """Read one sample of a plan. Raises _Unread."""
        picks, clip = plan.picks, int(out["clip"])
        try:
            if self._warm:
                self._expect(clip)
            for row, place in zip(out["frames"], plan.places[sample], strict=True):
                _decode(self._member(plan.shards[sample], *place), row)
            for name in ("landmarks", "aus"):
                if name in out:
                    out[name][...] = self._array(clip, name, picks.frames[sample])
            if "embedding" in out:
                out["embedding"][...] = self.embedding(clip)
        except Unreadable as error:
            raise _Unread(clip, error) from error
        if picks.other_clip is not None and picks.other_frame is not None:
            out["target_aus"][...] = self._target(int(picks.other_clip[sample]), picks.other_frame[sample])

    def _target(self, clip: int, frame: I64) -> NDArray[Any]:
        try:
            return self._array(clip, "aus", frame)
        except Unreadable as error:
            raise _Unread(clip, error) from error

    def _expect(self, clip: int) -> None:
        """Let the disk read all frames of a clip."""
        arrays = self._catalog.arrays
        first, last = int(arrays["first"][clip]), int(arrays["first"][clip + 1]) - 1
        end = int(arrays["frame_offset"][last]) + int(arrays["frame_size"][last])
        self._shards.expect(int(arrays["shard"][clip]), int(arrays["frame_offset"][first]), end)

    def _array(self, clip: int, name: str, frames: I64) -> NDArray[Any]:
        """Rows of a clip's npy member; NaN where the clip has none."""
        content = self._npy(clip, name)
        if not content:
            return _NAN
        with _undecodable():
            return array_member(f"{name}.npy", content, self._catalog.frames_in(clip))[frames]

    def embedding(self, clip: int) -> NDArray[np.float32]:
        """The face descriptor of a clip, float32 [128]; NaN where it has none. Raises Unreadable."""
        content = self._npy(clip, "embedding")
        if not content:
            return _NAN
        with _undecodable():
            return embedding_member(content)

    def _npy(self, clip: int, name: str) -> bytes:
        """A clip's npy member; nothing where it has none."""
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

    shards: of each sample
    places: of each sample and frame, offset, size and CRC-32
    """

    ask: Ask
    picks: Picks
    shards: list[int]
    places: list[list[list[int]]]


class _Unread(Exception):
    """An Unreadable, and the clip that it is about, which can be another than the sample's own."""

    def __init__(self, clip: int, error: Unreadable) -> None:
        super().__init__(clip, error)
        self.fault = Fault(clip, error.reason, error.detail)


def _decode(content: bytes, row: NDArray[np.uint8]) -> None:
    with _undecodable():
        decode_into(content, row)


@contextmanager
def _undecodable() -> Iterator[None]:
    """A member that is not what its name says becomes Unreadable."""
    try:
        yield
    except ValueError as error:
        raise Unreadable("undecodable", str(error)) from error
