"""TarStream: sequential reading of tars without an index, such as from a pipe or a socket, or of tars without their dataset.

    TarStream([sys.stdin.buffer], Pairs(2), batch_size=20)
    TarStream(sorted(Path("OUT/train").glob("*.tar")), KPlusOne(8), batch_size=4)

Every byte is read, clips are shuffled only within a window, the number of batches is unknown, and a pass cannot be resumed: with
an index, prefer `ClipStream`. Truncated tars are detected.
"""

import logging
import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch.utils.data

from motionshards.dataset import arguments
from motionshards.dataset.reading.batch import Batch, as_batch, batch_layout
from motionshards.dataset.reading.index_arrays import Kind
from motionshards.dataset.reading.order import Order
from motionshards.dataset.reading.reader import NothingReadable, Reader, Request
from motionshards.dataset.reading.view import View
from motionshards.dataset.reading.window import HeldClip, Window
from motionshards.dataset.storage.tar_samples import Members, samples_of
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.printable import printable

logger = logging.getLogger("motionshards")

_SUBSTITUTES = 8


class TarStream(torch.utils.data.IterableDataset[Batch]):
    """Batches of the clips in tars, read in one process. Each pass over files is the next epoch; a pipe can be read only once.

    The incomplete last batch is dropped. Clips that do not satisfy the view's requirements are counted in `excluded`.

    tars: list of paths or binary streams
    view: which frames make up a sample, see `dataset.views`; not a view with one clip per identity
    batch_size: samples per batch
    window: number of clips held in memory and shuffled; 1 keeps the order of the tars
    seed: random seed of sample order and frame choice
    on_error: `"skip"` skips invalid clips and the rest of an unreadable tar, substitutes clips with damaged pixels, and counts
        all in `faults`; `"raise"` raises DatasetError
    frames: `"stills"` or `"video"`, for clips that have both; by default what the view prefers
    size: height and width of the frames, one of the stored sizes; by default the dataset's

    Raises:
        ConfigError: an argument is invalid, or the view needs an index
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
        size: int | None = None,
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
            raise ConfigError("views with one clip per identity need an index: use ClipStream")
        preferred: str = getattr(view, "prefers", "stills")
        self._frames, self._size = frames or preferred, size
        self._epoch = 0
        self._kind: Kind | None = None
        self.faults: Counter[str] = Counter()
        self.excluded: Counter[str] = Counter()

    def __repr__(self) -> str:
        order = f"batches of {self._batch_size}, window {self._window}, seed {self._seed}"
        return f"TarStream({len(self._tars)} tars, {self._view}: {order})"

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass this epoch."""
        self._epoch = arguments.whole_number("epoch", epoch, 0)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the next epoch. A pass counts as an epoch once it has yielded a batch.

        Raises:
            ConfigError: this is a worker of a DataLoader, or the clips have no frames of that size
            DatasetError: a tar or a clip cannot be read, see `on_error`
        """
        if torch.utils.data.get_worker_info() is not None:
            raise ConfigError("TarStream cannot be split over workers, each would read all of it: use num_workers=0")
        epoch = self._epoch
        for number, batch in enumerate(self._pass(epoch)):
            if number == 0:
                self._epoch = epoch + 1
            yield batch

    def _pass(self, epoch: int) -> Iterator[Batch]:
        self._kind = None
        left: list[HeldClip] = []
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

    def _clips(self) -> Iterator["HeldClip"]:
        for tar in self._tars:
            try:
                for key, members in samples_of(tar):
                    if (clip := self._checked(key, members)) is not None:
                        yield clip
            except Unreadable as error:
                self._fault(error)

    def _checked(self, key: str, members: Members) -> "HeldClip | None":
        """The parsed clip; None, counted as a fault, if it is invalid or its frames are not of the first clip's kind."""
        try:
            clip = HeldClip.of(key, members, self._frames, self._size)
            self._kind = self._kind or clip.kind
            if clip.kind != self._kind:
                raise ValueError(f"frames are {clip.kind}, but those of earlier clips are {self._kind}")
            return clip
        except (ValueError, ConfigError) as error:
            if isinstance(error, ConfigError) and self._kind is None:  # the arguments do not fit the first clip, so they fit none
                raise
            self._fault(Unreadable("undecodable", f"{key}: {error}"))
        return None

    def _fault(self, error: Unreadable) -> None:
        if self._on_error == "raise":
            raise DatasetError(f"{error.detail}: {error.reason}") from error
        self.faults[error.reason] += 1
        logger.warning("%s: %s, skipped", printable(error.detail), error.reason)

    def _batches(self, clips: list["HeldClip"], epoch: int) -> Generator[Batch, None, list["HeldClip"]]:
        """Yield the batches of a window; returns the clips that did not fill a batch."""
        kind = self._kind or Kind("stills", 0)
        window = Window.of(clips, kind)
        usable = np.ones(len(clips), np.bool_)
        for reason, without in self._view.unusable(window.catalog) if clips else ():
            self.excluded[reason] += int((usable & without).sum())
            usable &= ~without
        if not usable.all():
            clips = [clip for clip, shown in zip(clips, usable.tolist(), strict=True) if shown]
            window = Window.of(clips, kind)
        shuffle = "none" if self._window == 1 else "global"
        order = Order(np.zeros(len(clips), np.int64), self._seed, shuffle).slots(epoch, np.arange(len(clips)))
        whole = len(clips) // self._batch_size * self._batch_size
        substitutes = _SUBSTITUTES if self._on_error == "skip" else 0
        for start in range(0, whole, self._batch_size):
            numbers = np.arange(start, start + self._batch_size)
            columns = np.concatenate([numbers[:, None], (numbers[:, None] + 1 + np.arange(substitutes)) % len(clips)], axis=1)
            yield self._read(window, Request(order.unit[columns], order.turn[columns]))
        return [clips[number] for number in order.unit[whole:]]

    def _read(self, window: "Window", request: Request) -> Batch:
        reader = Reader(window.catalog, self._view, self._seed, window, warm=False)
        layout = batch_layout(len(request.clip), self._view, window.catalog)
        arrays = {name: np.empty(shape, dtype) for name, dtype, shape in layout.arrays}
        try:
            faults = reader.read(reader.plan(request, arrays), arrays, 0, len(request.clip))
        except NothingReadable as error:
            fault = error.faults[0]
            raise DatasetError(f"{window.catalog.keys[fault.clip].as_py()}: {fault.reason}: {fault.detail}") from error
        for one in faults:
            self._fault(Unreadable(one.reason, f"{window.catalog.keys[one.clip].as_py()}: {one.detail}"))
        return as_batch(arrays, window.catalog, np.zeros(len(request.clip), np.bool_))
