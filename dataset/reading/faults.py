"""Clips that could not be read while training: counted, told once, and written down where that is asked for."""

import json
import logging
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from motionshards.schemas.printable import printable

logger = logging.getLogger("motionshards")


@dataclass(frozen=True, slots=True)
class Fault:
    """A clip that could not be read.

    clip: its number in the catalog
    reason: a key of `dataset.storage.unreadable.UNREADABLE`
    detail: for people
    """

    clip: int
    reason: str
    detail: str


class Faults:
    """The faults of a run: how many of each reason, and a line for each clip in the log and the quarantine file.

    counts: substituted samples by reason; a clip counts each time that it was wanted
    """

    def __init__(self, quarantine: Path | None) -> None:
        self.counts: Counter[str] = Counter()
        self._quarantine = quarantine
        self._told: set[int] = set()

    def add(self, fault: Fault, key: str) -> None:
        """Count a fault. Raises OSError: the quarantine file cannot be written."""
        self.counts[fault.reason] += 1
        if fault.clip in self._told:
            return
        self._told.add(fault.clip)
        logger.warning(
            "%s cannot be read, another clip stands in for it: %s: %s", printable(key), fault.reason, printable(fault.detail)
        )
        if self._quarantine is not None:
            with self._quarantine.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"key": key, **asdict(fault)}, ensure_ascii=False) + "\n")
