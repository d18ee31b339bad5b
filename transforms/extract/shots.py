"""Shots of a video, from thumbnails of its frames."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THUMBNAIL_PX = (48, 27)
# ffmpeg's `scdet` calls a change of 10 % of the grey range, beyond what changed one frame before, a cut.
_CUT = 0.10


@dataclass(frozen=True, slots=True)
class Shots:
    """starts: int64 [S], the first frame of each shot, ascending from 0; blended: bool [T], frames of transitions."""

    starts: NDArray[np.int64]
    blended: NDArray[np.bool_]


class ShotFinder:
    """Finds shots by the measure of ffmpeg's `scdet` filter."""

    def __init__(self) -> None:
        self._grey: list[NDArray[np.float32]] = []

    def add(self, thumbnail: NDArray[np.uint8]) -> None:
        """Take the next frame, RGB uint8 [27,48,3]."""
        self._grey.append(thumbnail.mean(axis=2, dtype=np.float32))

    def finish(self) -> Shots:
        """The shots of all frames."""
        change = np.array([np.abs(b - a).mean() / 255 for a, b in zip(self._grey, self._grey[1:], strict=False)])
        score = np.minimum(change, np.abs(np.diff(change, prepend=0)))
        starts = np.concatenate([[0], np.flatnonzero(score > _CUT) + 1]).astype(np.int64)
        return Shots(starts, np.zeros(len(self._grey), np.bool_))
