"""What a run of the download did."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from motionshards.jobs.download_order import Totals
from motionshards.jobs.download_report import STATUSES


@dataclass
class Fetched:
    """What a run did: its totals, the rows of its report by video, what it said, and how long it slept each time, seconds."""

    totals: Totals
    rows: dict[str, dict[str, Any]]
    said: list[str]
    slept: list[float]


Fetch = Callable[..., Fetched]


def counts(**some: int) -> dict[str, int]:
    return {**dict.fromkeys(STATUSES, 0), **some}
