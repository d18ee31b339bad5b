"""Position in the order of a stream, and its state for checkpoints: a dict of plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from motionshards.schemas.errors import ConfigError

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """A position in the order.

    epoch: number of the epoch, from 0
    slot: next slot of the epoch; all slots below it have been yielded, over all ranks
    yielded: batches yielded since `slot` by this worker of a DataLoader; 0 outside of workers
    """

    epoch: int = 0
    slot: int = 0
    yielded: int = 0


def as_state(progress: Progress, sequence: Mapping[str, Any]) -> dict[str, Any]:
    """A state: the position, and everything the order depends on."""
    return {"version": _VERSION, **asdict(progress), "sequence": dict(sequence)}


def from_state(state: Mapping[str, Any], sequence: Mapping[str, Any]) -> Progress:
    """The position in a state. Raises ConfigError: it is not such a state, or has different settings."""
    try:
        if state["version"] != _VERSION:
            raise ConfigError(f"the loader's state has version {state['version']}, this release reads version {_VERSION}")
        stored = dict(state["sequence"])
        progress = Progress(**{field.name: int(state[field.name]) for field in fields(Progress)})
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"not a loader's state: {error!r}") from error
    changed = [f"{name}: {stored.get(name)!r} → {value!r}" for name, value in sequence.items() if stored.get(name) != value]
    if changed:
        raise ConfigError(f"the loader's state was saved with different settings ({'; '.join(changed)})")
    return progress
