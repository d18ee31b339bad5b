"""Statistics from the tables only: distributions of measures, splits and identities. The shards need not exist."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.report.clips import Clips
from motionshards.dataset.report.distribution import Distribution, distribution, of_counts

_SHOWN = 10
_FEW_CLIPS = 40  # up to this number of clips per identity, each number has its own bar


@dataclass(frozen=True, slots=True)
class GroupTotals:
    """Totals of a split, an identity or the dataset: clips, stored frames, seconds of source video, distinct identities."""

    name: str
    clips: int
    frames: int
    seconds: float
    identities: int = 1


@dataclass(frozen=True, slots=True)
class VideoTotals:
    """Totals of stored video: clips, frames and seconds; and the clips and seconds of these with sound."""

    clips: int
    frames: int
    seconds: float
    heard_clips: int
    heard_seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Statistics of kept clips from the tables.

    listed: number of clips in the index, selected or not
    total: totals of the selected clips
    splits: totals by split, sorted by name
    moving: totals of stored video; None if no clip has any
    measures: by name, one value per clip: `clips.MEASURES`, `clips.OF_VIDEO`, and `source_fps`, `duration_s`
    faces: number of faces, one value per stored frame
    pose: int64 [180,180], stored frames by yaw and pitch, see `Clips`
    clips_each: number of clips, one value per identity
    longest, shortest: identities with the most and the fewest seconds
    """

    listed: int
    total: GroupTotals
    splits: tuple[GroupTotals, ...]
    moving: VideoTotals | None
    measures: dict[str, Distribution]
    faces: Distribution
    pose: NDArray[np.int64] = field(repr=False)
    clips_each: Distribution
    longest: tuple[GroupTotals, ...]
    shortest: tuple[GroupTotals, ...]


def figures(clips: Clips) -> Figures:
    """Compute the statistics of the clips."""
    identities = _Sums.by(clips.identity, len(clips.identities), clips)
    shown = min(_SHOWN, max(len(clips.identities) // 2, 1))  # so that no identity is in both lists
    order = np.lexsort((np.arange(len(identities.clips)), -identities.seconds))  # ties by name
    return Figures(
        listed=clips.listed,
        total=GroupTotals(
            "all", len(clips), int(clips.n_frames.sum()), float(np.nansum(clips.duration_s)), len(clips.identities)
        ),
        splits=_splits(clips),
        moving=_moving(clips),
        measures=_measures(clips),
        faces=of_counts(clips.faces, clips.faces_absent),
        pose=clips.pose,
        clips_each=_clips_each(identities.clips),
        longest=identities.totals(clips.identities, order[:shown].tolist()),
        shortest=identities.totals(clips.identities, order[::-1][:shown].tolist()),
    )


def _measures(clips: Clips) -> dict[str, Distribution]:
    fps = np.full(len(clips), np.nan)
    np.divide(clips.source_frames, clips.duration_s, out=fps, where=clips.duration_s > 0)
    values = {**clips.measures, "source_fps": fps, "duration_s": clips.duration_s}
    return {name: distribution(value) for name, value in values.items()}


def _moving(clips: Clips) -> VideoTotals | None:
    frames, fps, has_sound = (clips.measures[name].astype(np.float64) for name in ("video_frames", "fps", "has_audio"))
    stored, has_sound = np.isfinite(frames), has_sound == 1
    if not stored.any():
        return None
    seconds = np.nan_to_num(frames / fps)
    frames_stored = int(frames[stored].sum())
    return VideoTotals(
        int(stored.sum()), frames_stored, float(seconds.sum()), int(has_sound.sum()), float(seconds[has_sound].sum())
    )


def _clips_each(clips: NDArray[np.int64]) -> Distribution:
    few = clips.max(initial=0) <= _FEW_CLIPS
    return of_counts(np.bincount(clips, minlength=1), 0) if few else distribution(clips.astype(np.float64))


def _splits(clips: Clips) -> tuple[GroupTotals, ...]:
    sums = _Sums.by(clips.split, len(clips.splits), clips)
    pairs = np.unique(clips.split.astype(np.int64) * len(clips.identities) + clips.identity)
    identities = np.bincount(pairs // max(len(clips.identities), 1), minlength=len(clips.splits))
    return sums.totals(clips.splits, range(len(clips.splits)), identities.tolist())


@dataclass(frozen=True, slots=True)
class _Sums:
    """Clips, frames and seconds of each group, [groups] each."""

    clips: NDArray[np.int64]
    frames: NDArray[np.int64]
    seconds: NDArray[np.float64]

    @classmethod
    def by(cls, group: NDArray[np.int32], groups: int, clips: Clips) -> "_Sums":
        frames = np.bincount(group, clips.n_frames, groups).astype(np.int64)
        seconds = np.bincount(group, np.nan_to_num(clips.duration_s), groups).astype(np.float64)
        return cls(np.bincount(group, minlength=groups).astype(np.int64), frames, seconds)

    def totals(
        self, names: Sequence[str], groups: Iterable[int], identities: Sequence[int] | None = None
    ) -> tuple[GroupTotals, ...]:
        """Totals of the groups with these numbers; `identities`: distinct identities of each, unless groups are identities."""
        return tuple(
            GroupTotals(
                names[group],
                int(self.clips[group]),
                int(self.frames[group]),
                float(self.seconds[group]),
                1 if identities is None else identities[group],
            )
            for group in groups
        )
