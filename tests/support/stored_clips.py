"""Clips as read by exports."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from motionshards.dataset.export.clip import StoredClip
from motionshards.dataset.index import Dataset, read_members
from motionshards.schemas.layout import tar_path
from motionshards.transforms.extract.stored_video import FrameReader


def first_clip(data: Path) -> StoredClip:
    """The first clip of the dataset's index."""
    row = Dataset.open(data).index().to_pylist()[0]
    with tar_path(data, row["split"], row["shard"]).open("rb") as tar:
        return StoredClip.of(row, read_members(tar, row["members"]), FrameReader())


def with_points(clip: StoredClip, points_px: np.ndarray) -> StoredClip:
    """The clip with other landmarks of its stored video, float32 [L,68,2]."""
    return replace(clip, _arrays={**clip._arrays, "points": points_px})
