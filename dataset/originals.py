"""Drop-in replacements for the datasets of FOMM, MRAA and Thin-Plate-Spline-Motion-Model, which read shards.

In `run.py` of these repositories, replace `from frames_dataset import FramesDataset` with `from motionshards import
FramesDataset`, and in the YAML file set `root_dir` to the directory or URL of a dataset. See docs/exports.md.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
import torch.utils.data
from numpy.typing import NDArray

from motionshards.dataset import arguments
from motionshards.dataset.export.names import Names
from motionshards.dataset.loader import Loader
from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.open_dataset import stored_sizes
from motionshards.dataset.reading.order import I64, Slots
from motionshards.dataset.reading.reader import NothingReadable, Reader, Request
from motionshards.dataset.reading.units import Units
from motionshards.dataset.reading.view import Picks
from motionshards.dataset.reading.world import World
from motionshards.dataset.storage.shards import Shards
from motionshards.dataset.stream import ClipStream
from motionshards.dataset.views import Pairs
from motionshards.schemas.errors import ConfigError
from motionshards.transforms.augment.augment import Augment, to_float
from motionshards.transforms.augment.clips import Clips

_SUBSTITUTES = 8
_MOST_TURNS = 2**62
_JITTER = ("brightness", "contrast", "saturation", "hue")


class FramesDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Map-style dataset with the items of the original repositories.

    Training items: `source` and `driving`, float32 [3,H,W] in [0, 1], two distinct frames of a clip in time order (before
    augmentation). Other items: `video`, float32 [3,T,H,W], all frames of a clip. All items have `name`, the file name that
    `export --format fomm` assigns to the clip, and `id`, the index of the item.

    Frames are drawn in the reading process with torch's random generator, which DataLoaders seed differently for each worker and
    epoch. A training clip that cannot be read is replaced by another one and logged once per process.

    The attribute `videos` has the names of the items: identities with `id_sampling` in training, else files.

    root_dir: directory of a dataset, or its URL
    frame_shape: height, width (and channels) of the frames, which must be square; None for the dataset's size. Frames are resized
        unless they are stored at this size
    id_sampling: in training, an item is an identity, of which a random clip is drawn
    is_train: read the split `train`; otherwise, all other splits
    random_seed: determines the frames, together with torch's random generator
    pairs_list: csv file for the repositories' PairedDataset
    augmentation_params: the repositories' `flip_param` and `jitter_param`, for training only
    where: condition on the columns of the index, see `ClipStream`

    Raises:
        ConfigError: an argument is invalid or has no equivalent here, or no clip is left
        DatasetError: the dataset cannot be read; or, when an item is read, its clip cannot be read or replaced
    """

    def __init__(
        self,
        root_dir: str | Path,
        frame_shape: Any = (256, 256, 3),
        id_sampling: bool = False,
        is_train: bool = True,
        random_seed: int = 0,
        pairs_list: str | None = None,
        augmentation_params: Mapping[str, Any] | None = None,
        *,
        where: str | None = None,
    ) -> None:
        self.root_dir, self.pairs_list, self.is_train = root_dir, pairs_list, is_train
        by_identity, side_px = id_sampling and is_train, _side_px(frame_shape)
        arguments.path("root_dir", root_dir)
        chosen = f"split {'==' if is_train else '!='} 'train'"
        self._stream = ClipStream(
            root_dir,
            Pairs(2) if is_train else _AllFrames(),
            global_batch_size=1,
            split=None,
            where=chosen if where is None else f"({where}) and {chosen}",
            seed=random_seed,
            world=World(0, 1),
            shuffle="global",
            size=side_px if side_px in stored_sizes(root_dir) else None,
        )
        catalog = self._stream.catalog
        self._units, self._files = Units.of(catalog, random_seed, by_identity), _Files(catalog)
        clips = self._units.clips[self._units.first[:-1]].tolist()
        self.videos = [self._files.identity(clip) if by_identity else self._files.name(clip) for clip in clips]
        self._augment = _augment(augmentation_params if is_train else None, side_px)
        self._reader: tuple[int, Reader] | None = None

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        arrays = self._read(index)
        name, number = self._files.name(int(arrays["clip"][0])), torch.from_numpy(arrays["number"])
        clips = Clips(
            frames=torch.from_numpy(arrays["frames"]),
            landmarks=None,
            aus=None,
            pose=torch.from_numpy(arrays["pose"]),
            number=number,
        )
        frames = self._augment(clips, self._augment.draw(1, torch.default_generator)).frames[0]
        if not self.is_train:
            return {"video": frames.transpose(0, 1), "name": name, "id": index}
        return {"source": frames[0], "driving": frames[1], "name": name, "id": index}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}

    def _read(self, index: int) -> dict[str, NDArray[Any]]:
        """The arrays of one sample, see `batch_layout`."""
        substitutes = _SUBSTITUTES if self.is_train else 0
        units = torch.cat([torch.tensor([index]), torch.randint(len(self), (substitutes,))]).numpy()
        turns = torch.randint(_MOST_TURNS, units.shape).numpy()
        clips = self._units.clip(Slots(units, turns))
        n, size = self._frames_of(clips[:1]), self._stream.size_px
        arrays: dict[str, NDArray[Any]] = {
            "frames": np.empty((1, n, size, size, 3), np.uint8),
            "pose": np.empty((1, n, 3), np.float32),
            "number": np.empty((1, n), np.int64),
            "clip": np.empty(1, np.int64),
        }
        reader = self._reader_here()
        try:
            self._stream.report(reader.read(reader.plan(Request(clips[None], turns[None]), arrays), arrays, 0, 1))
        except NothingReadable as error:
            raise self._stream.unreadable(error.faults) from error
        return arrays

    def _frames_of(self, clip: I64) -> int:
        return 2 if self.is_train else int(self._stream.catalog.shown_of(clip)[0])

    def _reader_here(self) -> Reader:
        """The reader of this process: open files must not be used across a fork."""
        if self._reader is None or self._reader[0] != os.getpid():
            self._reader = os.getpid(), self._stream.reader(Shards(self._stream.shard_source))
        return self._reader[1]


class FommBatches:
    """Batches of a loader with `Pairs(2)`, as dicts in the format of the original repositories.

    `source` and `driving`: float [B,3,H,W] in [0, 1], on the loader's device; `name`: B file names, as from `export --format
    fomm`. Length, order, epochs and resumption are those of the loader.
    """

    def __init__(self, loader: Loader) -> None:
        if not isinstance(loader, Loader) or loader.stream.view.n != 2:
            raise ConfigError("FommBatches needs a loader over a stream with Pairs(2)")
        self.loader, self._files = loader, _Files(loader.stream.catalog)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """See `Loader.__iter__`."""
        rows = self.loader.stream.catalog.arrays["row"]
        for batch in self.loader:
            frames = to_float(batch.frames) if batch.frames.dtype == torch.uint8 else batch.frames
            names = [self._files.name(clip) for clip in np.searchsorted(rows, batch.row.cpu().numpy()).tolist()]
            yield {"source": frames[:, 0], "driving": frames[:, 1], "name": names}


class _AllFrames:
    """The view of all frames of a clip, for one clip at a time."""

    n: ClassVar[int] = 1
    per_identity: ClassVar[bool] = False
    in_time_order: ClassVar[bool] = True
    prefers: ClassVar[str] = "video"

    def __repr__(self) -> str:
        return "all frames"

    def unusable(self, catalog: Catalog) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """See View."""
        yield from ()

    def pick(self, catalog: Catalog, seed: int, clip: I64, turn: I64) -> Picks:
        """See View."""
        return Picks(np.arange(catalog.shown_of(clip)[0])[None])


class _Files:
    """File names of clips, by clip number in a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._keys, self._frames, self._names = catalog.keys, catalog.n_shown, Names.of(pa.table({"key": catalog.keys}))

    def identity(self, clip: int) -> str:
        return self._names.identity(self._keys[clip].as_py())

    def name(self, clip: int) -> str:
        return f"{self._names.fomm(self._keys[clip].as_py(), int(self._frames[clip]))}.mp4"


def _side_px(frame_shape: Any) -> int | None:
    """Height and width of the frames; None for the dataset's size. Raises ConfigError: they are not square."""
    if frame_shape is None:
        return None
    try:
        height, width, *_ = frame_shape
    except (TypeError, ValueError):
        height = width = None
    if height is None or height != width:
        raise ConfigError(f"frame_shape must be [side, side, 3] or null, not {frame_shape!r}: stored frames are square")
    return arguments.whole_number("the side of frame_shape", height, 1)


def _augment(params: Mapping[str, Any] | None, side_px: int | None) -> Augment:
    """The augmentation that the repositories' configuration describes, with the same flip probabilities. Raises ConfigError."""
    params = {name: dict(given or {}) for name, given in (params or {}).items()}
    flip, jitter = params.pop("flip_param", {}), params.pop("jitter_param", {})
    time_flip, mirror = (bool(flip.pop(name, False)) for name in ("time_flip", "horizontal_flip"))
    strengths = {name: jitter.pop(name, 0.0) for name in _JITTER}
    if unknown := [*params, *flip, *jitter]:
        known = f"flip_param (time_flip, horizontal_flip) and jitter_param ({', '.join(_JITTER)})"
        raise ConfigError(f"augmentation_params: {unknown[0]} has no equivalent; supported are {known}")
    try:
        # The original code mirrors only clips that it has not reversed in time.
        return Augment(time_flip=time_flip / 2, flip=mirror / (4 if time_flip else 2), size=side_px, **strengths)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"augmentation_params: {error}") from error
