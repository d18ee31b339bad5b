"""Do the models learn? Each is trained for several minutes at a small size and evaluated on reconstructions of held-out clips.

    python -m benchmarks.learn [--only fomm] [--steps 200]

Everything runs on a CPU with the commands that users run: `motionshards build`, `train` and the evaluation of `motionshards
evaluate`. Scores are compared with those of the same networks before the first step, and with copying the source. There are no
VGG weights: reconstruction losses compare pixels, which blurs. GANimation's action units are substitutes computed from landmarks,
the opening of mouth and eyes. --results FILE.md also writes FILE.jpg: source, real frame, and reconstructions.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import yaml
from cyclopts import Parameter
from cyclopts.types import PositiveInt
from cyclopts.validators import Number
from PIL import Image, ImageDraw

import motionshards.jobs.train
from benchmarks.learn_data import FRAMES, build_dataset
from benchmarks.learn_models import COURSES, SIZE_PX, Stage
from benchmarks.report import CorpusOptions, Report, benchmark, corpus
from motionshards.dataset.commandline import choice
from motionshards.dataset.index import Dataset
from motionshards.dataset.reading.world import World
from motionshards.dataset.stream import ClipStream
from motionshards.trainers.checkpoint import LAST, Progress, save
from motionshards.trainers.evaluation.evaluate import evaluate
from motionshards.trainers.evaluation.measures import FaceMeasure, Measure, PixelMeasure
from motionshards.trainers.evaluation.reconstruction import Reconstructor
from motionshards.trainers.evaluation.scores import METRICS, Scores, format_value
from motionshards.trainers.log import METRICS as LOG
from motionshards.trainers.models import MODELS, plan
from motionshards.trainers.task import Plan, Runtime, Task
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.weight_file import read

_SEED = 0
_SHOWN = 3  # clips per model in the image
_ENLARGED = 2
_BATCH = 8  # frames
_MEASURED = ("l1", "akd_px", "aed", "missing")
_GOAL = 1.0
_LABEL_PX = 16
_COLUMNS = ("source", "real frame", "step 0", "trained")
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class LearnOptions(CorpusOptions):
    """Options of the benchmark."""

    only: Annotated[tuple[str, ...], choice(sorted(MODELS))] = ()
    """Only this model; may be repeated."""
    steps: Annotated[int | None, Parameter(validator=Number(gte=2))] = None
    """Steps of each training, at least 2, because GANimation trains its generator in every second step; by default those of
    benchmarks/learn_models.py."""
    clips: PositiveInt | None = None
    """Held-out clips to evaluate; by default all."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training stage.

    losses: the reported loss in each tenth of the stage
    """

    stage: Stage
    steps: int
    seconds: float
    losses: Sequence[float]


@dataclass(frozen=True, slots=True)
class Learned:
    """Scores of a model on held-out clips before the first step and after the last."""

    stages: tuple[Trained, ...]
    before: Scores
    after: Scores


@benchmark("learn")
def main(options: LearnOptions) -> None:
    """Train each model for minutes, and compare its reconstructions of held-out clips with those of untrained networks."""
    report = Report("benchmarks/learn.py: do the models learn?", options)
    with options.work_dir() as work:
        videos, name = corpus(options.input, work)
        data = build_dataset(videos, work, SIZE_PX)
        learned = {model: _learn(model, data, work / model, options) for model in options.only or COURSES}
    _tables(report, name, learned)
    report.finish(_figures(learned))
    if options.results is not None:
        _strip(learned).save(options.results.with_suffix(".jpg"), quality=80)


def _strip(learned: Mapping[str, Learned]) -> Image.Image:
    """Image with rows of clips of each model: source, real frame, reconstruction at step 0, and by the trained networks."""
    rows = [
        (model, *pair) for model, each in learned.items() for pair in zip(each.before.examples, each.after.examples, strict=True)
    ]
    side = SIZE_PX * _ENLARGED
    page = Image.new("RGB", (_LABEL_PX + len(_COLUMNS) * side, _LABEL_PX + len(rows) * side), "white")
    pen = ImageDraw.Draw(page)
    for column, label in enumerate(_COLUMNS):
        pen.text((_LABEL_PX + (column + 0.5) * side, _LABEL_PX / 2), label, "black", anchor="mm")
    for row, (model, before, after) in enumerate(rows):
        top = _LABEL_PX + row * side
        for column, image in enumerate((before.given, before.real, before.reconstructed, after.reconstructed)):
            enlarged = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
            page.paste(enlarged, (_LABEL_PX + column * side, top))
        page.paste(_upright(model, side), (0, top))
    return page


def _upright(label: str, side: int) -> Image.Image:
    """A label rotated to read from bottom to top."""
    across = Image.new("RGB", (side, _LABEL_PX), "white")
    ImageDraw.Draw(across).text((side / 2, _LABEL_PX / 2), label, "black", anchor="mm")
    return across.transpose(Image.Transpose.ROTATE_90)


def _learn(model: str, data: Path, work: Path, options: LearnOptions) -> Learned:
    """Train a model from random weights, stage by stage."""
    course = COURSES[model]
    work.mkdir()
    for stage in course.stages:
        (work / f"{stage.name}.yaml").write_text(yaml.safe_dump(dict(stage.settings)))
    model_plan = plan(model, str(work / f"{course.stages[-1].name}.yaml"))
    task, checkpoint = _untrained(model_plan, data), work / "untrained.pt"
    save(checkpoint, task, Progress(0, 0, {}))
    before = _evaluate(course.reconstructor(task.networks, model_plan.config), data, options.clips)
    stages = []
    for stage in course.stages:
        stages.append(_train(model, stage, data, work, checkpoint, options.steps or stage.steps))
        checkpoint = work / stage.name / LAST
    task.load_weights(read(checkpoint), checkpoint)
    return Learned(tuple(stages), before, _evaluate(course.reconstructor(task.networks, model_plan.config), data, options.clips))


def _untrained(model_plan: Plan[Any], data: Path) -> Task:
    torch.manual_seed(_SEED)
    training, size_px = model_plan.config.training, model_plan.config.architecture.size
    batch, repeats = training.global_batch_size, training.repeats
    stream = ClipStream(data, model_plan.view, global_batch_size=batch, repeats=repeats, size=size_px)
    return model_plan.task(Runtime(world=World(), device=_CPU, vgg="none", vggface="none"), stream)


def _train(model: str, stage: Stage, data: Path, work: Path, checkpoint: Path, steps: int) -> Trained:
    """Run `motionshards train` starting from a checkpoint. Raises RuntimeError: it failed."""
    run, began = work / stage.name, time.perf_counter()
    every = max(1, steps // 10)
    options = {
        "--model": model,
        "--config": work / f"{stage.name}.yaml",
        "--data": data,
        "--output": run,
        "--init": checkpoint,
        "--stop-after": steps,
        "--log-every": every,
        "--device": "cpu",
        "--vgg": "none",
        "--vggface": "none",
        "--workers": 1,
        "--seed": _SEED,
    }
    arguments = [str(word) for option in options.items() for word in option]
    if motionshards.jobs.train.main([*arguments, "--quiet"]) != 0:
        raise RuntimeError(f"motionshards train {' '.join(arguments)} failed")
    lines = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    losses = [line[stage.loss] for line in lines if line["step"] % every == 0 and stage.loss in line]
    return Trained(stage, steps, time.perf_counter() - began, losses)


def _evaluate(reconstructor: Reconstructor, data: Path, clips: int | None) -> Scores:
    faces = models.load("dlib")
    assert faces is not None
    measures: list[Measure] = [PixelMeasure(), FaceMeasure(faces)]
    return evaluate(reconstructor, Dataset.open(data), measures, limit=clips, batch=_BATCH, examples=_SHOWN)


def _tables(report: Report, name: str, learned: Mapping[str, Learned]) -> None:
    report.note(
        f"torch {torch.__version__} on a CPU; {name}, {FRAMES} frames of each clip at {SIZE_PX} px. The last clip of each "
        "person with several clips is held out. Networks are narrow (benchmarks/learn_models.py). Reconstruction losses compare "
        "pixels (no VGG). GANimation's action units are substitutes from landmarks: AU25 and AU26 from the opening of the "
        "mouth, AU45 from that of the eyes. AKD and AED are over the frames in whose reconstruction a face is found."
    )
    for metric in _MEASURED:
        about = METRICS[metric]
        rows = [(model, *_compared(each, metric)) for model, each in learned.items()]
        report.table(
            f"{about.label}: {about.note}", ("model", "copy", "step 0", "trained", "relative to copy", "relative to step 0"), rows
        )
    runs = [
        (run.stage.name, run.steps, run.seconds, run.stage.loss, run.losses[0], run.losses[-1])
        for each in learned.values()
        for run in each.stages
    ]
    report.table("Training", ("stage", "steps", "s", "loss", "in the first tenth", "in the last tenth"), runs)


def _compared(each: Learned, metric: str) -> tuple[str, ...]:
    values = [scores[metric].mean for scores in (each.after.copy, each.before.model, each.after.model)]
    ratios = [_times(values[2], other) for other in values[:2]]
    return (*(format_value(value, metric) for value in values), *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios))


def _times(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None


def _figures(learned: Mapping[str, Learned]) -> dict[str, Any]:
    """Ratios of the metrics, the share of missing faces, and whether each model beats its untrained networks."""
    figures: dict[str, Any] = {}
    for model, each in learned.items():
        for metric in _MEASURED[:-1]:
            trained = each.after.model[metric].mean
            figures[f"{model}_{metric}_times_copy"] = _times(trained, each.after.copy[metric].mean)
            figures[f"{model}_{metric}_times_step0"] = _times(trained, each.before.model[metric].mean)
        figures[f"{model}_missing"] = each.after.model["missing"].mean
    worst = max(figures[f"{model}_l1_times_step0"] for model in learned)
    return {**figures, "goal_l1_times_step0": _GOAL, "goal_met": worst < _GOAL}


if __name__ == "__main__":
    sys.exit(main())
