"""Measure a model on a data set: python -m jobs.evaluate --model fomm --checkpoint RUN/last.pt --data OUT --output DIR

Each clip is reconstructed from its first frame. DIR gets evaluation.json, with a row for each clip, and evaluation.jpg: source,
real frame, reconstruction and difference of some clips. Exit status: 0 measured, 2 unusable arguments or data, 130 stopped.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import simplejpeg
import torch
from tqdm import tqdm

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.dataset.index import Dataset, Sample
from motionshards.schemas.atomic import write_whole
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.output import refuse_strangers
from motionshards.trainers.fomm.config import CONFIGS, Config
from motionshards.trainers.fomm.evaluate import ClipScore, Pixels, Scores, comparison, score
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.restore import restore
from motionshards.trainers.parallel import start
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.options import ModelOptions

TABLE, PICTURE = "evaluation.json", "evaluation.jpg"
_ROWS = 8
_QUALITY = 95
_ON_GPU = 16


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="motionshards evaluate", description="Measure how well a model reconstructs clips.")
    parser.add_argument("--model", choices=("fomm",), default="fomm")
    parser.add_argument("--checkpoint", required=True, type=Path, help="of a training here, or of the authors")
    parser.add_argument("--data", required=True, type=Path, metavar="OUT", help="directory of a finished data set")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help=f"directory for {TABLE} and {PICTURE}")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, metavar="N", help="only N clips, evenly spread over the index")
    parser.add_argument("--config", help=f"of a checkpoint that does not hold its own: {', '.join(CONFIGS)} or a YAML file")
    parser.add_argument(
        "--landmarks", choices=("dlib", "fan", "none"), default="dlib", help="the authors took fan; none leaves AKD out"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--batch", type=int, help=f"frames at a time; by default 1 on a CPU, which is fastest, else {_ON_GPU}")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _evaluate(options)
    except (ConfigError, DatasetError) as error:
        return end(UNUSABLE, f"error: {error}")
    except KeyboardInterrupt:
        return end(INTERRUPTED, "stopped; nothing is written")


def _evaluate(options: argparse.Namespace) -> int:
    if min(value for value in (options.limit, options.batch, 1) if value is not None) < 1:
        raise ConfigError("--limit and --batch are at least 1")
    refuse_strangers(options.output, "evaluation", (TABLE, PICTURE))
    landmarks, _ = models.resolve(options.landmarks)
    _, device = start(options.device)
    config, detector, generator = restore(options.checkpoint, options.config)
    data = Dataset.open(options.data)
    rows, short = _rows(data, options, config)
    faces = models.load(landmarks, ModelOptions(device=str(device)))
    networks = FoldedNetworks(detector, generator, device)
    batch = options.batch or (1 if device.type == "cpu" else _ON_GPU)
    scores: list[ClipScore] = []
    pictures: list[Pixels] = []
    shown = {len(rows) * number // _ROWS for number in range(_ROWS)}
    for number, sample in enumerate(_samples(data, rows, options.quiet)):
        clip, made = score(sample.key, sample.frames, networks, device, batch, faces)
        scores.append(clip)
        if number in shown:
            middle = len(made) // 2
            pictures.append(comparison(sample.frames[0], sample.frames[1 + middle], made[middle]))
    _write(options, scores, pictures, {"config": config.name, "size_px": config.architecture.size, "too_short": short})
    return 0


def _rows(data: Dataset, options: argparse.Namespace, config: Config) -> tuple[pa.Table, int]:
    """The rows of the index that are evaluated, and how many of the split have too few frames to be."""
    size, channels = config.architecture.size, config.architecture.channels
    if channels != 3:
        raise ConfigError(f"{options.checkpoint} is of pictures with {channels} channels, and those of data sets have 3")
    if data.manifest.config.size != size:
        raise ConfigError(f"{options.data} has frames of {data.manifest.config.size} px, and the model is for {size}")
    columns = ["key", "split", "shard", "members", "n_frames"]
    rows = data.index(columns, where=pc.field("split") == options.split)
    if not len(rows):
        splits = ", ".join(sorted(data.index(["split"])["split"].unique().to_pylist()))
        raise ConfigError(f"{options.data} has no clips of --split {options.split}; it has {splits}")
    usable = rows.filter(pc.greater(rows["n_frames"], 1))
    if not len(usable):
        raise ConfigError(f"no clip of --split {options.split} has a second frame to be reconstructed")
    count = min(len(usable), options.limit or len(usable))
    return usable.take(np.arange(count) * len(usable) // count), len(rows) - len(usable)


def _samples(data: Dataset, rows: pa.Table, quiet: bool) -> Iterator[Sample]:
    """Raises DatasetError: a clip cannot be read. It is not left out, since then the figures would be of another data set."""
    for number in tqdm(range(len(rows)), unit="clip", disable=quiet or not sys.stderr.isatty(), dynamic_ncols=True):
        yield data.read(rows.slice(number, 1).to_pylist()[0])


def _write(options: argparse.Namespace, scores: list[ClipScore], pictures: list[Pixels], facts: dict[str, Any]) -> None:
    total = Scores.of(scores)
    stored = {
        "model": options.model,
        "checkpoint": str(options.checkpoint),
        "data": str(options.data),
        "split": options.split,
        **facts,
        "landmarks": options.landmarks,
        "provenance": models.provenance(options.landmarks),
        "torch": torch.__version__,
        **asdict(total),
        "per_clip": [asdict(clip) for clip in scores],
    }
    sheet = simplejpeg.encode_jpeg(np.concatenate(pictures), _QUALITY, "RGB", "444")
    try:
        write_whole(options.output, options.output / TABLE, json.dumps(stored, indent=1).encode() + b"\n")
        write_whole(options.output, options.output / PICTURE, sheet)
    except OSError as error:
        raise ConfigError(f"{options.output} cannot be written: {error.strerror}") from error
    show(_table(total, options, facts["size_px"]))


def _table(total: Scores, options: argparse.Namespace, size: int) -> str:
    rows = [
        ("L1", f"{total.l1:.4f}", f"of values in [0, 1]; {total.frames} frames of {total.clips} clips"),
        ("AKD", _shown(total.akd_px, "{:.3f} px"), f"68 landmarks by {options.landmarks}, frames of {size} px"),
        ("missing faces", _shown(total.missing_rate, "{:.2%}"), f"of {total.faces or 0} frames with a face"),
        ("AED", "-", "not measured: that needs a network that tells people apart"),
    ]
    return "\n".join(f"{name:14} {value:>10}   {note}" for name, value, note in rows)


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
