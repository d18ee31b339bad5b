"""What a run of jobs.train leaves: its log and its checkpoints."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def metrics(run: Path) -> list[dict[str, float]]:
    """All that was logged, but for what a clock says."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("images_per_s", "waiting")} for line in lines]


def same(one: Any, other: Any) -> bool:
    """Whether two nested states are equal to the last bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
