"""Rank and world size of the training process."""

import os
from dataclasses import dataclass

import torch.distributed as dist

from motionshards.schemas.errors import ConfigError


@dataclass(frozen=True, slots=True)
class World:
    """rank: number of this training process, from 0; size: number of training processes."""

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if not (isinstance(self.rank, int) and isinstance(self.size, int) and 0 <= self.rank < self.size):
            raise ConfigError(f"World(rank={self.rank}, size={self.size}): rank must be an integer in [0, size)")

    @classmethod
    def detect(cls) -> "World":
        """Rank and size of torch's default process group; before it is initialized, RANK and WORLD_SIZE as set by torchrun;
        without either, a single process.

        Raises:
            ConfigError: the variables are not numbers, contradict each other, or RANK is missing
        """
        if group := cls.of_process_group():
            return group
        try:
            size, rank = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK")
            if size > 1 and rank is None:
                raise ConfigError(
                    f"WORLD_SIZE is {size}, but RANK is not set: create the stream after the process group, or pass world="
                )
            return cls(int(rank or "0"), size)
        except ValueError as error:
            raise ConfigError(f"RANK and WORLD_SIZE must be integers: {error}") from error

    @classmethod
    def of_process_group(cls) -> "World | None":
        """Rank and size in torch's default process group; None before it is initialized."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else None

    def check_process_group(self) -> None:
        """Raises ConfigError: a process group with another rank or size was initialized since."""
        group = self.of_process_group() or self
        if group != self:
            raise ConfigError(
                f"the stream was opened as rank {self.rank} of {self.size}, but this is rank {group.rank} of {group.size}: open "
                "it after the process group is initialized (Lightning: in `train_dataloader`), or pass world="
            )

    @property
    def local_size(self) -> int:
        """Number of training processes on this machine: torchrun's LOCAL_WORLD_SIZE, or all if it is not set."""
        local = os.environ.get("LOCAL_WORLD_SIZE", "")
        return int(local) if local.isdigit() and int(local) else self.size

    def part(self, count: int) -> slice:
        """This process's part of `count` items; `count` must be divisible by the size."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)
