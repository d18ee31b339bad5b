"""Streams inside the data loaders of Hugging Face accelerate, which shards every iterable data set over its processes.

A stream is sharded already, and accelerate has no setting by which a data set could say so. It calls `set_epoch` and `len` of
the data set before it reads, though, from its own wrappers: they are found on the stack, and told to let all batches through.
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
    """To be called by methods that accelerate calls: lets its wrapper, if there is one, yield every batch of this rank's stream.

    Raises:
        ConfigError: accelerate would split batches over the processes a second time, or has other processes than the stream
    """
    for frame in _frames(sys._getframe(2)):
        wrapper = frame.f_locals.get("self")
        name = type(wrapper).__name__
        if name == "DataLoaderDispatcher":
            raise ConfigError(f"accelerate would read the stream on rank 0 only, and split its batches a second time: {_HOW}")
        if name == "IterableDatasetShard":
            _let_through(wrapper, world)


def sets_epoch_itself() -> bool:
    """Whether accelerate, and not the user through it, calls `set_epoch`: with its own count, which begins at 0 in each program
    and leaves out passes that were left early."""
    return any(frame.f_code.co_name == "__iter__" for frame in _frames(sys._getframe(2)))


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of accelerate's data loaders from this one upwards."""
    while frame is not None and frame.f_globals.get("__name__") == _MODULE:
        yield frame
        frame = frame.f_back


def _let_through(wrapper: Any, world: World) -> None:
    if wrapper.batch_size == 1 and wrapper.num_processes == 1:
        return  # done before
    if wrapper.split_batches or wrapper.batch_size not in (None, 1):
        raise ConfigError(
            "the stream forms batches itself: use DataLoader(stream, batch_size=None), and split_batches=False for accelerate"
        )
    theirs = World(wrapper.process_index, wrapper.num_processes)
    if theirs != world:
        raise ConfigError(
            f"the stream is rank {world.rank} of {world.size}, accelerate is rank {theirs.rank} of {theirs.size}: "
            f"open the stream after Accelerator()"
        )
    wrapper.batch_size, wrapper.num_processes, wrapper.process_index = 1, 1, 0
    wrapper.state_dict, wrapper.load_state_dict = wrapper.dataset.state_dict, wrapper.dataset.load_state_dict
