"""Rejected clips: counts by reason, and a few random clips for each."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from motionshards.dataset.report.tables import pieces, rows_at
from motionshards.schemas.layout import REJECTIONS
from motionshards.schemas.tables import REJECTIONS as SCHEMA

CASES = 6
"""Number of clips to show for each reason."""

_SHOWN = ("key", "split", "identity", "video", "spans", "stage", "reason", "detail", "retryable")


@dataclass(frozen=True, slots=True)
class Rejections:
    """Rejected clips.

    counts: number of clips by reason, the most frequent first
    cases: for each reason, up to CASES random rows of rejections.parquet as dicts
    """

    counts: dict[str, int]
    cases: dict[str, list[dict[str, Any]]] = field(repr=False)

    @property
    def total(self) -> int:
        """All rejected clips."""
        return sum(self.counts.values())


def read_rejections(out: Path, seed: int) -> Rejections:
    """Read the rejections of the dataset in `out`. Raises DatasetError."""
    path = out / REJECTIONS
    reasons = pa.chunked_array([piece["reason"].combine_chunks() for _, piece in pieces(path, SCHEMA, ["reason"])], pa.string())
    coded = pc.fill_null(reasons, "").combine_chunks().dictionary_encode()
    numbers, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    random = np.random.default_rng([seed, 1])
    members = {name: np.flatnonzero(numbers == number) for number, name in enumerate(names)}
    ordered = sorted(members, key=lambda name: (-len(members[name]), name))
    chosen = [np.sort(random.permutation(members[name])[:CASES]) for name in ordered]
    cases: dict[str, list[dict[str, Any]]] = defaultdict(list)
    if chosen:
        for row in rows_at(path, SCHEMA, _SHOWN, np.concatenate(chosen)):
            cases[row["reason"] or ""].append(row)
    return Rejections({name: len(members[name]) for name in ordered}, dict(cases))
