"""The results of a download run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from motionshards.jobs.download_order import Totals
from motionshards.jobs.download_report import STATUSES


@dataclass
class Fetched:
    """Results of a run: totals, rows of its report by video, output, and seconds of each sleep."""

    totals: Totals
    rows: dict[str, dict[str, Any]]
    messages: list[str]
    slept: list[float]


Fetch = Callable[..., Fetched]


def counts(**some: int) -> dict[str, int]:
    return {**dict.fromkeys(STATUSES, 0), **some}
