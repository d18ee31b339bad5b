"""Log and checkpoints of a run of jobs.train."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motionshards.dataset.index import Dataset
from motionshards.trainers.evaluation.reconstruction import as_images
from motionshards.trainers.talking_heads.episodes import draw
from motionshards.trainers.talking_heads.finetune import restore


def metrics(run: Path) -> list[dict[str, float]]:
    """All logged values except times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("images_per_s", "waiting")} for line in lines]


def same(one: Any, other: Any) -> bool:
    """Whether two nested states are bit-identical."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def embeddings(run: Path, data: Path) -> Tensor:
    """Embeddings [N,C] of each clip by a talking-heads run: means over frames with landmarks."""
    trained = restore(run / "last.pt", None, torch.device("cpu"))
    found = []
    for sample in Dataset.open(data).samples():
        assert sample.landmarks is not None
        points_px = torch.from_numpy(sample.landmarks.copy())
        known = points_px.isfinite().flatten(1).all(dim=1)
        frames = as_images(sample.frames, "cpu")[known]
        with torch.inference_mode():
            found.append(trained.embedder.eval()(frames, draw(points_px[known], frames.shape[-1])).mean(dim=0))
    return torch.stack(found)
