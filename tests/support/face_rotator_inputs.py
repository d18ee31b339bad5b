"""Landmarks of made-up faces, and batches of them, for the face rotator."""

import torch
from torch import Tensor

from motionshards.dataset.reading.batch import Batch


def face(left: float = 0.3, right: float = 0.3, mouth: float = 0.0) -> Tensor:
    """Landmarks [68,2] with these aspect ratios of eyes and mouth."""
    points = torch.zeros(68, 2)
    for first, x, ratio in ((36, 10.0, right), (42, 30.0, left)):
        high = 8 * ratio / 2
        offsets = [(-4, 0), (-1, -high), (1, -high), (4, 0), (1, high), (-1, high)]
        points[first : first + 6] = torch.tensor(offsets) + torch.tensor([x, 20.0])
    gap = 10 * mouth / 2
    inner = [(-5, 0), (-2, -gap), (0, -gap), (2, -gap), (5, 0), (2, gap), (0, gap), (-2, gap)]
    points[60:] = torch.tensor(inner) + torch.tensor([20.0, 40.0])
    return points


def batch(sources: list[Tensor], targets: list[Tensor], degrees: float = 0.0) -> Batch:
    count = len(sources)
    pose = torch.zeros(count, 2, 3)
    pose[:, 1, 0] = degrees
    return Batch(
        frames=torch.rand(count, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1)),
        landmarks=torch.stack([torch.stack(sources), torch.stack(targets)], dim=1),
        aus=None,
        pose=pose,
        number=torch.zeros(count, 2, dtype=torch.int64),
        row=torch.arange(count),
        identity=torch.zeros(count, dtype=torch.int64),
        padded=torch.zeros(count, dtype=torch.bool),
        target_aus=None,
        keys=tuple(map(str, range(count))),
    )
