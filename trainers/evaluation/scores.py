"""Scores of an evaluation: means over frames, of the model and of the baseline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.trainers.evaluation.reconstruction import Choice

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is printed.

    better: which values are better, `lower` or `higher`
    note: short description
    """

    label: str
    better: str
    digits: int
    note: str


METRICS = {
    "l1": Metric("L1", "lower", 4, "mean absolute difference of values in [0, 1]"),
    "psnr_db": Metric("PSNR (dB)", "higher", 2, "mean over frames"),
    "ssim": Metric("SSIM", "higher", 4, "Wang et al. 2004, 11 px Gaussian window"),
    "lpips": Metric("LPIPS", "lower", 4, "VGG16, version 0.1"),
    "missing": Metric("missing faces", "lower", 4, "share of the faces of real frames that are not found"),
    "akd_px": Metric("AKD (px)", "lower", 3, "mean distance of 68 landmarks"),
    "pose_deg": Metric("pose (deg)", "lower", 3, "mean absolute error of yaw, pitch and roll"),
    "aed": Metric("AED", "lower", 4, "distance of dlib's face descriptors"),
    "same_person": Metric("same person", "higher", 4, "share of frames with a distance below 0.6"),
    "csim": Metric("CSIM", "higher", 4, "cosine of ArcFace embeddings"),
    "au_error": Metric("AU error", "lower", 4, "mean absolute error of 17 intensities from 0 to 5"),
    "fid": Metric("FID", "lower", 2, "of all frames together"),
}
"""All metrics by their names in evaluation.json, in the order in which they are printed."""


_MANY_MISSING = 0.1


@dataclass(frozen=True, slots=True)
class Score:
    """The mean of a metric over `frames` frames, or their FID; None if no frame could be measured."""

    mean: float | None
    frames: int

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Score":
        """Average the values [N] of frames, NaN where a frame could not be measured."""
        measured = values[np.isfinite(values)]
        return cls(float(measured.mean()) if len(measured) else None, len(measured))

    @classmethod
    def over(cls, scores: Iterable["Score"]) -> "Score":
        """Average over all frames of several clips, so that long clips count for more, as published."""
        measured = [(score.mean, score.frames) for score in scores if score.mean is not None]
        frames = sum(count for _, count in measured)
        return cls(sum(mean * count for mean, count in measured) / frames if frames else None, frames)


@dataclass(frozen=True, slots=True)
class ClipScores:
    """Scores of one clip by metric.

    copy: scores of the baseline, which predicts the first input frame for every target
    """

    key: str
    frames: Choice
    model: Mapping[str, Score]
    copy: Mapping[str, Score]


@dataclass(frozen=True, slots=True)
class Example:
    """A reconstructed frame of a clip; images are uint8 [H,W,3]."""

    key: str
    source: int
    target: int
    l1: float
    given: Pixels = field(repr=False)
    real: Pixels = field(repr=False)
    reconstructed: Pixels = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Result of an evaluation.

    frames: number of reconstructed frames
    skipped: number of clips that were not evaluated, by reason
    model, copy: scores over all frames by metric, see ClipScores; also FID, which single clips do not have
    """

    clips: int
    frames: int
    skipped: Mapping[str, int]
    model: Mapping[str, Score]
    copy: Mapping[str, Score]
    per_clip: Sequence[ClipScores] = field(repr=False)
    examples: Sequence[Example] = field(repr=False)

    @classmethod
    def of(
        cls,
        clips: Sequence[ClipScores],
        skipped: Mapping[str, int],
        examples: Sequence[Example],
        fid: tuple[Score, Score] | None = None,
    ) -> "Scores":
        """Average the scores of clips; `fid` is (model, baseline). Raises ValueError: there are no clips."""
        if not clips:
            raise ValueError("there are no scores of clips to average")
        names = [name for name in METRICS if name in clips[0].model]
        of_model, of_copy = ({}, {}) if fid is None else ({"fid": each} for each in fid)
        return cls(
            clips=len(clips),
            frames=sum(len(clip.frames.targets) for clip in clips),
            skipped=skipped,
            model={name: Score.over(clip.model[name] for clip in clips) for name in names} | of_model,
            copy={name: Score.over(clip.copy[name] for clip in clips) for name in names} | of_copy,
            per_clip=clips,
            examples=examples,
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values, without the examples."""
        totals: dict[str, Any] = {"clips": self.clips, "frames": self.frames, "skipped": dict(self.skipped)}
        for name, scores in (("model_scores", self.model), ("copy_scores", self.copy)):
            totals[name] = {metric: asdict(score) for metric, score in scores.items()}
        return {**totals, "per_clip": [asdict(clip) for clip in self.per_clip]}


def note(metric: str, measured: int, frames: int) -> str:
    """Describe a metric, with the number of frames that were measured if that is not all `frames`."""
    return METRICS[metric].note + ("" if measured == frames else f"; {measured} of {frames} frames")


def missing_faces(share: float | None, model: str = "the model") -> str:
    """Return a warning, on a line of its own, if many reconstructions have no face; else an empty string."""
    if share is None or share <= _MANY_MISSING:
        return ""
    seen = f"no face is found in {share:.0%} of the reconstructions of {model}"
    return f"\nwarning: {seen}; its other face metrics are those of the remaining, easier frames"


def format_value(value: float | None, metric: str, sign: str = "") -> str:
    """Format a value of a metric; `sign="+"` also prints the sign of positive values."""
    return "-" if value is None else f"{value:{sign}.{METRICS[metric].digits}f}"


def text_table(rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Format rows as aligned lines: the first column left-aligned, then `numbers` right-aligned columns, then text."""
    widths = [max(len(row[column]) for row in rows) for column in range(1 + numbers)]
    lines = []
    for row in rows:
        aligned = [row[0].ljust(widths[0]), *(row[column].rjust(widths[column]) for column in range(1, 1 + numbers))]
        lines.append("   ".join([*aligned, *row[1 + numbers :]]).rstrip())
    return "\n".join(lines)
