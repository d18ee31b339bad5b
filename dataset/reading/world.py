"""Which of how many training processes this is."""

import os
from dataclasses import dataclass

import torch.distributed as dist

from motionshards.schemas.errors import ConfigError


@dataclass(frozen=True, slots=True)
class World:
    """rank: number of this process, from 0; size: how many there are."""

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if not (isinstance(self.rank, int) and isinstance(self.size, int) and 0 <= self.rank < self.size):
            raise ConfigError(f"rank {self.rank} of a world of {self.size}")

    @classmethod
    def detect(cls) -> "World":
        """Rank and size of torch's default process group; before it is initialised those of RANK and WORLD_SIZE, as torchrun sets
        them; one process where there are neither.

        Raises:
            ConfigError: the variables are no numbers, contradict each other, or RANK is missing
        """
        if group := cls.of_process_group():
            return group
        try:
            size, rank = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK")
            if size > 1 and rank is None:
                raise ConfigError(
                    f"WORLD_SIZE is {size} and RANK is not set: create the stream after the process group, or pass world="
                )
            return cls(int(rank or "0"), size)
        except ValueError as error:
            raise ConfigError(f"RANK and WORLD_SIZE are to be numbers: {error}") from error

    @classmethod
    def of_process_group(cls) -> "World | None":
        """Rank and size in torch's default process group; None before it is initialised."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else None

    def check_process_group(self) -> None:
        """Raises ConfigError: a process group was initialised since, in which this is another rank."""
        group = self.of_process_group() or self
        if group != self:
            raise ConfigError(
                f"the stream was opened as rank {self.rank} of {self.size}, and this is rank {group.rank} of {group.size}: open "
                "it after the process group is initialised (Lightning: in `train_dataloader`), or pass world="
            )

    @property
    def local_size(self) -> int:
        """How many of the processes run on this machine, from torchrun's LOCAL_WORLD_SIZE; all, where it is not set."""
        told = os.environ.get("LOCAL_WORLD_SIZE", "")
        return int(told) if told.isdigit() and int(told) else self.size

    def part(self, count: int) -> slice:
        """The part of `count` things, which the size divides, that is this process's."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)
