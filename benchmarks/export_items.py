"""Items of two frames, read by FramesDataset and as in the training code of the original repositories."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.report import cores
from motionshards import FramesDataset

_BATCH = 8


class Files(Dataset[dict[str, Any]]):
    """Clips in `ROOT/train`: image folders, of which two images are read, or videos, which are read whole for two frames."""

    def __init__(self, root: Path) -> None:
        self.paths = sorted((root / "train").iterdir())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        if path.is_dir():
            images = sorted(path.iterdir())
            frames = [imageio.imread(images[number]) for number in _two_of(len(images))]
        else:
            every = imageio.mimread(path)
            frames = [every[number] for number in _two_of(len(every))]
        source, driving = (np.transpose(frame, (2, 0, 1)).astype(np.float32) / 255 for frame in frames)
        return {"source": source, "driving": driving, "name": path.name}


@dataclass(frozen=True, slots=True)
class Side:
    """A row of the table."""

    name: str
    dataset: Callable[[Path], Dataset[dict[str, Any]]]


def _shards(root: Path) -> Dataset[dict[str, Any]]:
    return FramesDataset(root, None)


ITEMS = {
    "motionshards": Side("FramesDataset over shards", _shards),
    "png": Side("two images of a PNG folder", Files),
    "mimread": Side("imageio.mimread of an mp4", Files),
}


def items_per_s(side: str, root: Path, seconds: float) -> float:
    """Items per second of shuffled epochs, starting with the second batch."""
    torch.manual_seed(0)
    loader = DataLoader(_Endless(ITEMS[side].dataset(root)), batch_size=_BATCH, num_workers=cores(), shuffle=True)
    batches = iter(loader)
    next(batches)
    start, items = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        items += len(next(batches)["name"])
    rate = items / (time.monotonic() - start)
    del batches  # stops the workers
    return rate


class _Endless(Dataset[dict[str, Any]]):
    """A dataset repeated many times, as in the original repositories."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return 1000 * len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = self.dataset[index % len(self.dataset)]
        return item


def _two_of(frames: int) -> list[int]:
    return sorted(random.choices(range(frames), k=2))
