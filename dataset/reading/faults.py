"""Clips that could not be read during training: counted, logged once, and optionally recorded in a quarantine file."""

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

    clip: number of the clip in the catalog
    reason: a key of `dataset.storage.unreadable.UNREADABLE`
    detail: description for users
    """

    clip: int
    reason: str
    detail: str


class Faults:
    """The faults of a run: counts by reason, and one line per clip in the log and the quarantine file.

    counts: number of substituted samples by reason; a clip counts each time it was drawn
    """

    def __init__(self, quarantine: Path | None) -> None:
        self.counts: Counter[str] = Counter()
        self._quarantine = quarantine
        self._logged: set[int] = set()

    def add(self, fault: Fault, key: str) -> None:
        """Count a fault. Raises OSError: the quarantine file cannot be written."""
        self.counts[fault.reason] += 1
        if fault.clip in self._logged:
            return
        self._logged.add(fault.clip)
        logger.warning(
            "%s cannot be read, substituting another clip: %s: %s", printable(key), fault.reason, printable(fault.detail)
        )
        if self._quarantine is not None:
            with self._quarantine.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"key": key, **asdict(fault)}, ensure_ascii=False) + "\n")
