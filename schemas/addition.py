"""What was added to a finished data set: a new column from the stored frames, or more frames."""

from dataclasses import dataclass
from typing import Any

from motionshards.schemas.typed import check_types


@dataclass(frozen=True, slots=True)
class Addition:
    """One addition. A shard that was rewritten by it has its number in `ShardEntry.added`.

    number: counted from 1 in the order in which they were asked for
    what: `landmarks`, `aus`, `identity`, `no-identity` (which takes it away), `quality` or `frames`
    at: when it was asked for, UTC, ISO 8601
    pixels: what it was computed from; a build computes from decoded frames, before they become JPEGs
    config: the fields of the config that it changes, with their new values
    provenance: versions and hashes that decide what was added
    finished: whether all shards have it
    """

    number: int
    what: str
    at: str
    pixels: str
    config: dict[str, Any]
    provenance: dict[str, str]
    finished: bool = False

    def __post_init__(self) -> None:
        check_types(self)

    def same_as(self, other: "Addition") -> bool:
        """Whether both add the same, whenever they were asked for."""
        return (self.what, self.config, self.provenance) == (other.what, other.config, other.provenance)
