"""Which of how many training processes this is."""

import os
from dataclasses import dataclass

from schemas.errors import ConfigError


@dataclass(frozen=True, slots=True)
class World:
    """rank: number of this process, from 0; size: how many there are."""

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ConfigError(f"rank {self.rank} of a world of {self.size}")

    @classmethod
    def detect(cls) -> "World":
        """As torchrun and its like tell by RANK and WORLD_SIZE; one process where they say nothing.

        Raises:
            ConfigError: they are no numbers, or contradict each other
        """
        try:
            return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
        except ValueError as error:
            raise ConfigError(f"RANK and WORLD_SIZE are to be numbers: {error}") from error

    @property
    def local_size(self) -> int:
        """How many of the processes run on this machine, as torchrun tells by LOCAL_WORLD_SIZE; all, where it does not."""
        told = os.environ.get("LOCAL_WORLD_SIZE", "")
        return int(told) if told.isdigit() and int(told) else self.size

    def part(self, count: int) -> slice:
        """The part of `count` things, which the size divides, that is this process's."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)
