"""ClipStream: the clips of a dataset in batches, in an order that depends only on the seed. See docs/loading.md.

    stream = ClipStream("OUT", Pairs(2), global_batch_size=40, where="blur > 50 and abs(yaw_deg) < 60")
    for batch in make_loader(stream, device="cuda"): ...   # reads in worker processes
    for batch in torch.utils.data.DataLoader(stream, batch_size=None, num_workers=4): ...   # half as fast

Each pass is the next epoch.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.data
from numpy.typing import NDArray

from motionshards.dataset import arguments
from motionshards.dataset.reading.accelerate_wrappers import sets_epoch_itself, unwrap
from motionshards.dataset.reading.batch import Batch, as_batch, batch_layout
from motionshards.dataset.reading.faults import Fault, Faults
from motionshards.dataset.reading.layout import Layout
from motionshards.dataset.reading.open_dataset import Opened, open_source
from motionshards.dataset.reading.order import SHUFFLES
from motionshards.dataset.reading.passes import Passes
from motionshards.dataset.reading.progress import Progress, as_state, from_state
from motionshards.dataset.reading.reader import NothingReadable, Reader, Request
from motionshards.dataset.reading.selection import advice_on_few_clips, select_clips, select_kind
from motionshards.dataset.reading.units import Units
from motionshards.dataset.reading.view import View
from motionshards.dataset.reading.watch import Watch
from motionshards.dataset.reading.world import World
from motionshards.dataset.sequence import Sequence
from motionshards.dataset.storage.cache import default_cache
from motionshards.dataset.storage.remote import Retry, shown
from motionshards.dataset.storage.shards import Shards
from motionshards.dataset.views import KPlusOne, Pairs, PosePairs, Singles
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.printable import printable

__all__ = ["Batch", "ClipStream", "KPlusOne", "Pairs", "PosePairs", "Sequence", "Singles", "World"]

_SUBSTITUTES = 8
_CACHE_BYTES = 50_000_000_000


class ClipStream(torch.utils.data.IterableDataset[Batch]):
    """Batches of the selected clips, sampled by a view; `len()` is the number of batches in an epoch.

    source: directory of a dataset, or its URL (http(s), s3, gs, abfs); of an unfinished build, the committed shards are read
    view: which frames make up a sample: `Pairs`, `KPlusOne`, `Singles`, `PosePairs`, `Sequence`, or your own `View`
    global_batch_size: samples per step over all ranks; must be divisible by the world size
    split: name of the split, or None for all splits
    where: condition on the columns of the index, such as `"blur > 50"`, see `dataset.query.where`
    identities: read only clips of these identities
    seed: random seed of sample order and frame choice
    shuffle: `"global"`, `"shard"` or `"none"`, see `dataset.reading.order.Order`; True means `"shard"` for a URL and `"global"`
        otherwise, False means `"none"`
    repeats: how often each clip (or identity) is drawn per epoch
    window: number of shards that `shuffle="shard"` mixes at a time
    last: `"drop"` the incomplete last batch, or `"pad"` it with samples from the start of the epoch (flagged in `batch.padded`)
    on_error: for a clip that cannot be read, `"substitute"` another one and count it in `faults`, or `"raise"`
    quarantine: file to which unreadable clips are appended, one JSON object per line
    world: rank and world size; by default those of torch's process group or, before it is initialized, of RANK and WORLD_SIZE
    fetch: `"shards"` downloads and caches whole shards; `"members"` requests only the needed members, without caching (better
        when a filter keeps few clips)
    cache, cache_bytes: directory for downloaded shards, shared by all processes of a machine, and its size limit
    retry: how network reads are retried
    storage_options: credentials and options of the store, see `dataset.storage.remote.Remote`
    frames: `"stills"` or `"video"`, for a dataset that has both; by default `Sequence` reads video, other views read stills
    size: height and width of the frames, one of the stored sizes (default: the dataset's); landmarks are in pixels of this size

    Raises:
        ConfigError: an argument is invalid or does not fit the dataset, or no clip is left
        DatasetError: the dataset cannot be read
    """

    def __init__(
        self,
        source: str | Path,
        view: View,
        *,
        global_batch_size: int,
        split: str | None = "train",
        where: str | None = None,
        identities: Iterable[str] | None = None,
        seed: int = 0,
        shuffle: str | bool = True,
        repeats: int = 1,
        window: int = 8,
        last: str = "drop",
        on_error: str = "substitute",
        quarantine: str | Path | None = None,
        world: World | None = None,
        fetch: str = "shards",
        cache: str | Path | None = None,
        cache_bytes: int = _CACHE_BYTES,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        storage_options: Mapping[str, Any] | None = None,
        frames: str | None = None,
        size: int | None = None,
    ) -> None:
        arguments.path("source", source)
        repeats, window = arguments.whole_number("repeats", repeats, 1), arguments.whole_number("window", window, 1)
        arguments.one_of("last", last, ("drop", "pad"))
        arguments.one_of("on_error", on_error, ("substitute", "raise"))
        arguments.one_of("fetch", fetch, ("shards", "members"))
        arguments.one_of("frames", frames, (None, "stills", "video"))
        arguments.text_or_none("split", split, "'train'")
        arguments.text_or_none("where", where, "'blur > 50'")
        people = arguments.names("identities", identities)
        self.view, self.seed, self.last, self.on_error = arguments.view(view), arguments.seed(seed), last, on_error
        self.global_batch_size = arguments.whole_number("global_batch_size", global_batch_size, 1)
        self.world = World.detect() if world is None else arguments.world(world)
        self._world_is_detected = world is None
        mode = arguments.shuffle(shuffle, SHUFFLES)
        opened = open_source(source, retry, storage_options)
        kind = select_kind(opened.manifest.config, view, frames, size)
        self.catalog, self.excluded = select_clips(opened, view, where, split, people, kind)
        self.size_px, self.aus, self._split = kind.size_px, opened.manifest.config.aus, split
        self._units = Units.of(self.catalog, self.seed, view.per_identity)
        mode = mode or ("shard" if opened.remote else "global")
        self._order = self._units.order(self.catalog, view, self.seed, mode, repeats, window)
        self.shard_source = opened.shard_source(
            self.catalog.shards,
            random=self._order.shuffle == "global",
            cache=(Path(cache) if cache else default_cache()) if opened.remote and fetch == "shards" else None,
            cache_bytes=arguments.whole_number("cache_bytes", cache_bytes, 1),
            retry=retry,
            storage_options=storage_options,
        )
        files = dict(zip(self.catalog.shards, self.shard_source.shards, strict=True))
        self._watch = Watch(opened.root, files, opened.stamp, retry, storage_options)
        self.faults = Faults(None if quarantine is None else Path(quarantine))
        self._passes = Passes()
        self._resumed: Progress | None = None  # in a worker of torchdata's loader
        self._progress = Progress()
        self._check_batches(opened, where, people)

    def __repr__(self) -> str:
        people, frames = len(np.unique(self.catalog.arrays["identity"])), f"{self.catalog.kind.shown} of {self.size_px} px"
        clips = f"{len(self.catalog):,} clips of {people:,} identities, {frames}"
        order = (
            f"{self.steps(0):,} batches of {self.global_batch_size} per epoch, shuffle {self._order.shuffle}, seed {self.seed}"
        )
        return f"ClipStream({printable(shown(self.shard_source.root))}, {self.view}, split {self._split}: {clips}, {order})"

    @property
    def identities(self) -> tuple[str, ...]:
        """Names of the identities; `Batch.identity` indexes this tuple."""
        return self.catalog.identities

    @property
    def slots(self) -> int:
        """Samples per epoch over all ranks, before the last batch is dropped or padded."""
        return len(self._order)

    def __len__(self) -> int:
        """Batches per epoch, the same on every rank. Raises ConfigError: as `__iter__` does."""
        unwrap(self.world)
        if self._world_is_detected:
            self.world.check_process_group()
        return self.steps(0)

    def steps(self, slot: int) -> int:
        """Number of batches left in an epoch from this slot on."""
        left = max(0, self.slots - slot)
        return left // self.global_batch_size if self.last == "drop" else -(-left // self.global_batch_size)

    def roll_over(self, position: Progress) -> Progress:
        """The position itself, or the start of the next epoch if this one has no batch left."""
        return position if self.steps(position.slot) else Progress(position.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass this epoch, from its start or, if a state of the same epoch was loaded, from its position."""
        unwrap(self.world)
        if sets_epoch_itself():
            return
        if self._passes.upcoming.epoch != arguments.whole_number("epoch", epoch, 0):
            self._passes.set(Progress(epoch))
        self._progress = self._passes.upcoming

    def requests(self, epoch: int, slot: int, steps: int = 1) -> tuple[Request, NDArray[np.bool_]]:
        """This rank's samples of the `steps` batches that start at a slot, and a bool array: which of them are padding."""
        each = self.global_batch_size
        numbers = np.arange(slot, slot + steps * each).reshape(steps, each)[:, self.world.part(each)].ravel()
        padded, numbers = numbers >= self.slots, numbers % self.slots
        substitutes = _SUBSTITUTES if self.on_error == "substitute" else 0
        columns = np.concatenate([numbers[:, None], self._order.substitutes(epoch, numbers, substitutes)], axis=1)
        slots = self._order.slots(epoch, columns.ravel())
        return Request(self._units.clip(slots).reshape(columns.shape), slots.turn.reshape(columns.shape)), padded

    def window(self, position: Progress) -> tuple[int, int]:
        """Epoch and number of the window of shards that contains a position."""
        return position.epoch, self._order.window_of(position.epoch, position.slot)

    def window_shards(self, epoch: int, window: int) -> list[int]:
        """The shards of a window, as indices into `shard_source.shards`; empty unless `shuffle="shard"`."""
        return self._order.shards(epoch, window).tolist() if self._order.shuffle == "shard" else []

    def layout(self) -> Layout:
        """Names, dtypes and shapes of the arrays of this rank's batches."""
        return batch_layout(self.global_batch_size // self.world.size, self.view, self.catalog)

    def reader(self, shards: Shards) -> Reader:
        """A reader of this stream's samples, for the calling process."""
        return Reader(self.catalog, self.view, self.seed, shards, self.warm)

    @property
    def warm(self) -> bool:
        """Whether other frames of a clip are read soon after the first."""
        return self._order.repeats > 1 and not self.view.per_identity

    def __iter__(self) -> Iterator[Batch]:
        """Yield this rank's batches of one epoch; in a worker of a DataLoader, every `num_workers`-th of them.

        A pass counts as an epoch once it has yielded a batch, or once the workers of a DataLoader have started on it.

        Raises:
            ConfigError: the process group is not the one with which the stream was opened
            DatasetError: shards of the dataset have changed, or a clip cannot be read, see `on_error`
        """
        info = torch.utils.data.get_worker_info()
        if info is None:
            return self._pass_without_workers()
        # Join here, not with the first batch: a worker from which no batch is requested must count the passes, too.
        start = self._passes.join(info.id, info.seed - info.id, self._resumed)
        self._resumed, self._progress = None, start
        return self._pass(start, info.id, info.num_workers)

    def _pass_without_workers(self) -> Iterator[Batch]:
        start = self._passes.upcoming
        for number, batch in enumerate(self._pass(start, 0, 1)):
            if number == 0:
                self._passes.begin(start)
            self._progress = self.roll_over(self._progress)  # not in workers: torchdata's loader detects the end itself
            yield batch

    def _pass(self, start: Progress, worker: int, workers: int) -> Iterator[Batch]:
        self.check_unchanged()
        reader, position = self.reader(Shards(self.shard_source)), start
        for step in range(worker + start.yielded * workers, self.steps(start.slot), workers):
            batch = self._read(reader, start.epoch, start.slot + step * self.global_batch_size)
            self._progress = position = self._after(position, workers)
            yield batch

    def check_unchanged(self) -> None:
        """Check, before each pass, that the stream is still valid.

        Raises:
            ConfigError: the process group is not the one with which the stream was opened
            DatasetError: shards of the dataset have changed
        """
        if self._world_is_detected:
            self.world.check_process_group()
        self._watch.check()

    def state_dict(self) -> dict[str, Any]:
        """The position of this process, after the last batch that it yielded, for checkpoints of torchdata's
        StatefulDataLoader. With `make_loader`, use `Loader.state_dict`."""
        return as_state(self._progress, self.sequence())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state in the next pass. Raises ConfigError: it has other settings, or is of a DataLoader's worker."""
        self._progress = from_state(state, self.sequence())
        if torch.utils.data.get_worker_info() is not None:
            self._resumed = self._progress
        elif self._progress.yielded:
            raise ConfigError("this state was saved by a worker of a DataLoader; load it into that DataLoader")
        else:
            self._progress = self.roll_over(self._progress)
            self._passes.set(self._progress)

    def sequence(self) -> dict[str, Any]:
        """Everything that determines the order of samples and their frames; saved states record and compare it."""
        frames = "measured frames" if getattr(self.view, "landmarks", False) else "video"
        return {
            "size": self.catalog.kind.smaller_px,
            "clips": self.catalog.digest(),
            "seed": self.seed,
            "shuffle": self._order.shuffle,
            "repeats": self._order.repeats,
            "window": self._order.window if self._order.shuffle == "shard" else None,
            "view": repr(self.view),
            **({"frames": frames} if self.catalog.of_video else {}),  # states of stills were saved before there was video
        }

    def report(self, faults: Iterable[Fault]) -> None:
        """Count and log clips that could not be read."""
        for fault in faults:
            self.faults.add(fault, self.catalog.keys[fault.clip].as_py())

    def unreadable(self, faults: list[Fault]) -> DatasetError:
        """The error for a clip that cannot be read and has no readable substitute."""
        first, more = faults[0], f", nor can {len(faults) - 1} others in its place" if len(faults) > 1 else ""
        return DatasetError(f"{self.catalog.keys[first.clip].as_py()} cannot be read: {first.reason}: {first.detail}{more}")

    def _read(self, reader: Reader, epoch: int, slot: int) -> Batch:
        request, padded = self.requests(epoch, slot)
        arrays = {name: np.empty(shape, dtype) for name, dtype, shape in self.layout().arrays}
        try:
            self.report(reader.read(reader.plan(request, arrays), arrays, 0, len(padded)))
        except NothingReadable as error:
            raise self.unreadable(error.faults) from error
        return as_batch(arrays, self.catalog, padded)

    def _after(self, position: Progress, workers: int) -> Progress:
        """The position one batch later; a single worker needs no count of batches."""
        if workers == 1:
            return Progress(position.epoch, position.slot + self.global_batch_size)
        return Progress(position.epoch, position.slot, position.yielded + 1)

    def _check_batches(self, opened: Opened, where: str | None, people: list[str] | None) -> None:
        if self.global_batch_size % self.world.size:
            raise ConfigError(f"global_batch_size {self.global_batch_size} is not divisible by the world size {self.world.size}")
        if not len(self):
            advice = advice_on_few_clips(opened, len(self.catalog), where, self._split, people)
            raise ConfigError(f"an epoch has {self.slots} samples, fewer than one batch of {self.global_batch_size}{advice}")
