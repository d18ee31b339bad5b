"""How far training has come in the order of a stream, as a dict of plain values that goes into a checkpoint."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from motionshards.schemas.errors import ConfigError

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """A place in the order.

    epoch: from 0
    slot: of this epoch those below it were delivered, over all ranks
    yielded: batches that this worker of an ordinary DataLoader has given since it began at `slot`
    """

    epoch: int = 0
    slot: int = 0
    yielded: int = 0


def as_state(progress: Progress, sequence: Mapping[str, Any]) -> dict[str, Any]:
    """A state: the place, and what the order depends on."""
    return {"version": _VERSION, **asdict(progress), "sequence": dict(sequence)}


def from_state(state: Mapping[str, Any], sequence: Mapping[str, Any]) -> Progress:
    """The place of a state. Raises ConfigError: it is no such state, or of another sequence; the message says what differs."""
    try:
        if state["version"] != _VERSION:
            raise ConfigError(f"the loader's state is of version {state['version']}, this is {_VERSION}")
        stored = dict(state["sequence"])
        progress = Progress(**{field.name: int(state[field.name]) for field in fields(Progress)})
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"that is no state of a loader: {error!r}") from error
    other = [f"{name} was {stored.get(name)!r}, is {value!r}" for name, value in sequence.items() if stored.get(name) != value]
    if other:
        raise ConfigError(f"the loader's state is of another sequence: {'; '.join(other)}")
    return progress
