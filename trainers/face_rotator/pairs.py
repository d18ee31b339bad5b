"""Converts batches of frames to training pairs."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from motionshards.dataset.reading.batch import Batch
from motionshards.trainers.face_rotator.color import to_images
from motionshards.trainers.face_rotator.config import TrainingConfig
from motionshards.trainers.face_rotator.pose import expression, rotation


@dataclass(frozen=True, kw_only=True, eq=False)
class PosedPairs:
    """B pairs. Can be sliced by rows.

    source, target: [B,4,H,W] in [-1, 1]
    pose: [B,3], network input that describes the change from source to target
    fit: [B], weights of the losses: 1 for usable pairs, else 0
    """

    source: Tensor
    target: Tensor
    pose: Tensor
    fit: Tensor

    def __getitem__(self, rows: slice) -> "PosedPairs":
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def posed_pairs(batch: Batch, settings: TrainingConfig) -> PosedPairs:
    """Convert a batch of frames with landmarks.

    Pairs that do not match the settings, or lack landmarks or poses, get weight 0 instead of being dropped, so that all processes
    have the same number of pairs.
    """
    assert batch.landmarks is not None
    faces = expression(batch.landmarks)
    change = (faces[:, 1] - faces[:, 0]).abs().amax(dim=1)  # NaN if one of them is
    morphing = settings.stage == "morpher"
    pose = faces[:, 1] if morphing else rotation(batch.pose)
    expected = change >= settings.alike if morphing else change < settings.alike
    fit = expected & pose.isfinite().all(dim=1)
    source, target = (to_images(batch.frames[:, number]) for number in (0, 1))
    return PosedPairs(source=source, target=target, pose=torch.nan_to_num(pose), fit=fit.to(source.dtype))
