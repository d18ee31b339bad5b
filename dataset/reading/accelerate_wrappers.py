"""Streams inside the data loaders of Hugging Face accelerate, which shards every iterable dataset over its processes.

A stream is sharded already, and accelerate has no setting for that. But before reading it calls the dataset's `set_epoch` and
`len` from its own wrappers: these are found on the call stack and configured to pass all batches through.
"""

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from motionshards.dataset.reading.world import World
from motionshards.schemas.errors import ConfigError

_MODULE = "accelerate.data_loader"
_HOW = "use Accelerator(dataloader_config=DataLoaderConfiguration(dispatch_batches=False)), or pass it make_loader(stream)"


def unwrap(world: World) -> None:
    """Disable the sharding of the accelerate wrapper that called the calling method, if any.

    Raises:
        ConfigError: accelerate would split batches again, or its rank or number of processes differs from the stream's
    """
    for frame in _frames(sys._getframe(2)):
        wrapper = frame.f_locals.get("self")
        name = type(wrapper).__name__
        if name == "DataLoaderDispatcher":
            raise ConfigError(f"accelerate would read the stream on rank 0 only and split its batches again: {_HOW}")
        if name == "IterableDatasetShard":
            _let_through(wrapper, world)


def sets_epoch_itself() -> bool:
    """Whether `set_epoch` was called by accelerate itself, not by the user. Its count starts at 0 in each run and skips passes
    that were left early, so it must be ignored."""
    return any(frame.f_code.co_name == "__iter__" for frame in _frames(sys._getframe(2)))


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Consecutive stack frames of accelerate's data loaders, from this one upwards."""
    while frame is not None and frame.f_globals.get("__name__") == _MODULE:
        yield frame
        frame = frame.f_back


def _let_through(wrapper: Any, world: World) -> None:
    if wrapper.batch_size == 1 and wrapper.num_processes == 1:
        return  # already configured
    if wrapper.split_batches or wrapper.batch_size not in (None, 1):
        raise ConfigError(
            "the stream yields batches already: use DataLoader(stream, batch_size=None), and split_batches=False for accelerate"
        )
    launched = World(wrapper.process_index, wrapper.num_processes)
    if launched != world:
        raise ConfigError(
            f"the stream was opened as rank {world.rank} of {world.size}, but accelerate runs rank {launched.rank} of "
            f"{launched.size}: open the stream after Accelerator()"
        )
    wrapper.batch_size, wrapper.num_processes, wrapper.process_index = 1, 1, 0
    wrapper.state_dict, wrapper.load_state_dict = wrapper.dataset.state_dict, wrapper.dataset.load_state_dict
