"""Evaluation of a model on clips of a dataset.

The clips, input frames and target frames depend only on the dataset and the kind of model, so that runs can be compared. A
baseline that copies the first input frame is evaluated with the model. One clip is in memory at a time.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from motionshards.dataset.index import Dataset, Sample
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.evaluation.fid import Fid, Inception
from motionshards.trainers.evaluation.measures import Floats, Frames, Measure
from motionshards.trainers.evaluation.reconstruction import NO_ACTION_UNITS, NO_LANDMARKS, Choice, Reconstructor
from motionshards.trainers.evaluation.scores import ClipScores, Example, Pixels, Score, Scores

Rows = Sequence[dict[str, Any]]
Progress = Callable[[Rows], Iterable[dict[str, Any]]]

_COLUMNS = ["key", "split", "shard", "members", "n_frames"]
_TOO_SHORT = "only one frame"
# Reason for skipping clips, the dataset setting that can cause it, and the options that add the missing data.
_REMEDIES = ((NO_LANDMARKS, "landmarks", "--add landmarks"), (NO_ACTION_UNITS, "aus", "--add aus --aus openface --input VIDEOS"))
_MEASURED_AT_ONCE = 32  # frames; bounds memory for clips of thousands of frames


def evaluate(
    model: Reconstructor,
    data: Dataset,
    measures: Sequence[Measure],
    *,
    inception: Inception | None = None,
    split: str = "test",
    limit: int | None = None,
    batch: int = 1,
    examples: int = 8,
    progress: Progress = iter,
) -> Scores:
    """Evaluate a model on the clips of a split.

    inception: also compute FID of all frames, by this network
    limit: evaluate only this number of clips, evenly spaced in the index
    batch: number of frames that are computed together
    examples: number of clips, evenly spaced, from which an example frame is kept
    progress: wraps the iteration over the clips' rows

    Raises:
        ConfigError: the split has no clips that the model can reconstruct, or their size is not that of the model
        DatasetError: a clip is damaged; it is not skipped, as scores would not be comparable with those of the intact dataset
    """
    if model.size_px not in (sizes := data.manifest.config.sizes):
        has, expected = " and ".join(map(str, sizes)), model.size_px
        raise ConfigError(f"{data.out} has frames of {has} px, and the model is for {expected}: build with --size {expected}")
    rows, short = _rows(data, split, limit)
    skipped: Counter[str] = Counter({_TOO_SHORT: short} if short else {})
    clips: list[ClipScores] = []
    chosen: list[Example] = []
    fid = None if inception is None else Fid(inception)
    for number, row in enumerate(progress(rows)):
        sample = data.read(row, model.size_px)
        choice = model.choose(sample)
        if isinstance(choice, str):
            skipped[choice] += 1
            continue
        scores, example = _clip(model, sample, choice, measures, fid, batch)
        clips.append(scores)
        if len(chosen) < examples and number * examples >= len(chosen) * len(rows):
            chosen.append(example)
    if not clips:
        raise ConfigError(f"no clip of --split {split} can be reconstructed: {reasons(skipped)}{_remedy(skipped, data)}")
    return Scores.of(clips, dict(skipped), chosen, None if fid is None else fid.scores())


def reasons(skipped: dict[str, int]) -> str:
    """Format the reasons for which clips were skipped."""
    return ", ".join(f"{count} with {reason}" for reason, count in skipped.items())


def _remedy(skipped: Mapping[str, int], data: Dataset) -> str:
    """Return the command that adds the missing data, if the dataset was built without it; else an empty string."""
    for reason, setting, added in _REMEDIES:
        if reason in skipped and getattr(data.manifest.config, setting) == "none":
            return f". The dataset was built without them; add them with: motionshards build --output {data.out} {added}"
    return ""


def _rows(data: Dataset, split: str, limit: int | None) -> tuple[Rows, int]:
    """Return the rows of the index to evaluate, and the number of clips of the split with only one frame."""
    rows = data.index(_COLUMNS, where=pc.field("split") == split)
    if not len(rows):
        splits = ", ".join(sorted(data.index(["split"])["split"].unique().to_pylist()))
        raise ConfigError(f"{data.out} has no clips of --split {split}; it has {splits}")
    usable = rows.filter(pc.greater(rows["n_frames"], 1))
    count = min(len(usable), limit or len(usable))
    return _Lazy(usable.take(np.arange(count) * len(usable) // max(1, count))), len(rows) - len(usable)


class _Lazy(Sequence[dict[str, Any]]):
    """Rows of a table, converted one at a time, since each lists all members of its sample."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._table.slice(number, 1).to_pylist()[0]


def _clip(
    model: Reconstructor, sample: Sample, choice: Choice, measures: Sequence[Measure], fid: Fid | None, batch: int
) -> tuple[ClipScores, Example]:
    """Evaluate a clip. Returns its scores, and its middle target as an example."""
    given, middle = sample.frames[choice.given[0]], choice.targets[len(choice.targets) // 2]
    of_model: list[dict[str, Floats]] = []
    of_copy: list[dict[str, Floats]] = []
    example: Example | None = None
    for targets, reconstructed in _reconstructed(model, sample, choice, batch):
        pixels = _pixels(reconstructed)
        frames = Frames(
            np.concatenate([sample.frames[[choice.given[0], *targets]] / np.float32(255), reconstructed]),
            np.concatenate([sample.frames[[choice.given[0], *targets]], pixels]),
        )
        if fid is not None:
            fid.add(frames, len(targets))
        part, copied = _compared(measures, frames, len(targets))
        of_model.append(part)
        of_copy.append(copied)
        if middle in targets:
            place = targets.index(middle)
            l1 = float(part["l1"][place]) if "l1" in part else float("nan")
            example = Example(sample.key, choice.given[0], middle, l1, given, sample.frames[middle], pixels[place])
    assert example is not None
    return ClipScores(sample.key, choice, _means(of_model), _means(of_copy)), example


def _reconstructed(
    model: Reconstructor, sample: Sample, choice: Choice, batch: int
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """Yield groups of targets with their reconstructions, float32 [n,H,W,3] in [0, 1]."""
    with torch.inference_mode():
        reconstruct = model.prepare(sample, choice.given)
    for start in range(0, len(choice.targets), _MEASURED_AT_ONCE):
        targets = [*choice.targets[start : start + _MEASURED_AT_ONCE]]
        with torch.inference_mode():
            parts = [reconstruct(targets[first : first + batch]) for first in range(0, len(targets), batch)]
            yield targets, _values(torch.cat(parts))


def _compared(measures: Sequence[Measure], frames: Frames, count: int) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return the metrics of `count` reconstructions and of the baseline; `frames` are [copied frame, real, reconstructions]."""
    of_model: dict[str, Floats] = {}
    of_copy: dict[str, Floats] = {}
    for measure in measures:
        found = measure.features(frames)
        real = {name: values[1 : 1 + count] for name, values in found.items()}
        of_model |= measure.compare(real, {name: values[1 + count :] for name, values in found.items()})
        # A view, without copies.
        copied = {name: np.broadcast_to(values[0], real[name].shape) for name, values in found.items()}
        of_copy |= measure.compare(real, copied)
    return of_model, of_copy


def _means(parts: Sequence[dict[str, Floats]]) -> dict[str, Score]:
    return {name: Score.of(np.concatenate([part[name] for part in parts]).astype(np.float64)) for name in parts[0]}


def _values(reconstructed: Tensor) -> NDArray[np.float32]:
    """Convert [B,3,H,W] to [B,H,W,3] on the CPU, clamped to [0, 1]."""
    return np.ascontiguousarray(reconstructed.clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy())


def _pixels(values: NDArray[np.float32]) -> Pixels:
    """Round values in [0, 1] to the nearest of 256 levels."""
    return np.rint(values * 255).astype(np.uint8)
