"""Evaluate a trained model: python -m jobs.evaluate --model fomm --checkpoint RUN/last.pt --data OUT --output DIR

Each clip is reconstructed from its first frame. DIR gets evaluation.json, with a row for each clip, and evaluation.jpg: source,
real frame, reconstruction and difference of some clips. Exit status: 0 evaluated, 1 failed, 2 unusable arguments or data,
130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import simplejpeg
import torch
from cyclopts.types import PositiveInt

from motionshards.dataset.commandline import OfLocalDataset, Reporting, command
from motionshards.dataset.index import Dataset, Sample
from motionshards.jobs.options import InBatches, OfMotionModel, named_in, writing
from motionshards.schemas.atomic import write_whole
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.output import refuse_strangers
from motionshards.trainers.fomm.config import CONFIGS, Config
from motionshards.trainers.fomm.evaluate import ClipScore, Pixels, Scores, comparison, score
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.restore import restore
from motionshards.trainers.parallel import choose_device
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.options import ModelOptions

TABLE, PICTURE = "evaluation.json", "evaluation.jpg"
_ROWS = 8
_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Reporting, InBatches, OfMotionModel, OfLocalDataset):
    """Options of `motionshards evaluate`."""

    model: Literal["fomm"] = "fomm"
    """The kind of model."""
    checkpoint: Path
    """Checkpoint of `motionshards train` or of the original repository."""
    config: Annotated[str | None, named_in(CONFIGS)] = None
    output: Path
    """Directory for evaluation.json and evaluation.jpg."""
    split: str = "test"
    """The split to evaluate."""
    limit: PositiveInt | None = None
    """Evaluate only this number of clips, evenly spaced in the index."""
    landmarks: Literal["dlib", "fan", "none"] = "dlib"
    """The landmark model; the paper used fan, and none omits the landmark distance (AKD)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured.

    landmarks: model of the landmarks, or `none`
    size_px: of the frames
    too_short: clips of the split that have only one frame, and were not evaluated
    """

    output: str
    landmarks: str
    size_px: int
    too_short: int
    scores: Scores

    def __str__(self) -> str:
        total = self.scores
        rows = [
            ("L1", f"{total.l1:.4f}", f"of values in [0, 1]; {total.frames} frames of {total.clips} clips"),
            ("AKD", _shown(total.akd_px, "{:.3f} px"), f"68 landmarks by {self.landmarks}, frames of {self.size_px} px"),
            ("missing faces", _shown(total.missing_rate, "{:.2%}"), f"of {total.faces or 0} frames with a face"),
            ("AED", "-", "not measured: it needs a network that identifies people"),
        ]
        return "\n".join(f"{name:14} {value:>10}   {note}" for name, value, note in rows)


@command("evaluate", after=lambda options: "Nothing was written")
def main(options: EvaluateOptions) -> None:
    """Evaluate how well a trained model reconstructs clips."""
    refuse_strangers(options.output, "evaluation", (TABLE, PICTURE))
    options.print_result(_evaluate(options))


def _evaluate(options: EvaluateOptions) -> Evaluation:
    landmarks, _ = models.resolve(options.landmarks)
    device = choose_device(options.device)
    config, detector, generator = restore(options.checkpoint, options.config, align_corners=options.aligned())
    data = Dataset.open(options.data)
    rows, short = _rows(data, options, config)
    faces = models.load(landmarks, ModelOptions(device=str(device)))
    networks = FoldedNetworks(detector, generator, device)
    scores: list[ClipScore] = []
    pictures: list[Pixels] = []
    shown = {len(rows) * number // _ROWS for number in range(_ROWS)}
    for number, sample in enumerate(_samples(data, rows, options)):
        clip, made = score(sample.key, sample.frames, networks, device, options.batch_size(device), faces)
        scores.append(clip)
        if number in shown:
            middle = len(made) // 2
            pictures.append(comparison(sample.frames[0], sample.frames[1 + middle], made[middle]))
    done = Evaluation(str(options.output), options.landmarks, config.architecture.size, short, Scores.of(scores))
    _write(options, done, config, scores, pictures)
    return done


def _rows(data: Dataset, options: EvaluateOptions, config: Config) -> tuple[pa.Table, int]:
    """Choose the rows of the index to evaluate, and count those of the split with too few frames."""
    size, channels = config.architecture.size, config.architecture.channels
    if channels != 3:
        raise ConfigError(f"{options.checkpoint} is for images with {channels} channels, and datasets have 3")
    if data.manifest.config.size != size:
        raise ConfigError(f"{options.data} has frames of {data.manifest.config.size} px, and the model is for {size}")
    columns = ["key", "split", "shard", "members", "n_frames"]
    rows = data.index(columns, where=pc.field("split") == options.split)
    if not len(rows):
        splits = ", ".join(sorted(data.index(["split"])["split"].unique().to_pylist()))
        raise ConfigError(f"{options.data} has no clips of --split {options.split}; it has {splits}")
    usable = rows.filter(pc.greater(rows["n_frames"], 1))
    if not len(usable):
        raise ConfigError(f"no clip of --split {options.split} has a second frame to reconstruct")
    count = min(len(usable), options.limit or len(usable))
    return usable.take(np.arange(count) * len(usable) // count), len(rows) - len(usable)


def _samples(data: Dataset, rows: pa.Table, options: EvaluateOptions) -> Iterator[Sample]:
    """Read the clips. Raises DatasetError: one is damaged; without it the scores would be those of another dataset."""
    with options.bar("clip", len(rows)) as bar:
        for number in range(len(rows)):
            yield data.read(rows.slice(number, 1).to_pylist()[0])
            bar.update()


def _write(options: EvaluateOptions, done: Evaluation, config: Config, scores: list[ClipScore], pictures: list[Pixels]) -> None:
    stored: dict[str, Any] = {
        "model": options.model,
        "checkpoint": str(options.checkpoint),
        "data": str(options.data),
        "split": options.split,
        "config": config.name,
        "align_corners": config.architecture.align_corners,
        "size_px": done.size_px,
        "too_short": done.too_short,
        "landmarks": options.landmarks,
        "provenance": models.provenance(options.landmarks),
        "torch": torch.__version__,
        **asdict(done.scores),
        "per_clip": [asdict(clip) for clip in scores],
    }
    sheet = simplejpeg.encode_jpeg(np.concatenate(pictures), _QUALITY, "RGB", "444")
    with writing(options.output):
        write_whole(options.output, options.output / TABLE, json.dumps(stored, indent=1).encode() + b"\n")
        write_whole(options.output, options.output / PICTURE, sheet)


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
