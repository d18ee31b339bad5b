"""The models compared at the published settings: parameters, time per frame, and time per training step.

    python -m benchmarks.models [--rounds 5] [--steps 2]

Everything runs on one CPU thread. Times are CPU time, which excludes other load. Frames are reconstructed by the code of
`motionshards evaluate`, and steps are those of `motionshards train`. Weights are random; times do not depend on them.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from cyclopts.types import PositiveInt
from torch import Tensor, nn

from benchmarks.learn_data import build_dataset
from benchmarks.learn_models import COURSES
from benchmarks.report import CorpusOptions, Report, benchmark, corpus, peak_mib
from motionshards.dataset.index import Dataset
from motionshards.dataset.loader import make_loader
from motionshards.dataset.reading.world import World
from motionshards.dataset.stream import ClipStream
from motionshards.trainers.evaluation.reconstruction import Choice, Reconstructor
from motionshards.trainers.models import MODELS, plan
from motionshards.trainers.talking_heads.generator import Generator
from motionshards.trainers.task import Plan, Runtime, Task

_SMALL_PX = 128
_REFERENCE = "fomm"
_COLUMNS = ["key", "split", "shard", "members"]
_BYTES = 4  # per fp32 number
# The corpus has few pairs within the published limits; times do not depend on them.
_LENIENT = {"frontal_deg": 10.0, "alike": 0.3, "repeats": 1000}

# Models, and changes to their first config.
_SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "fomm": ("fomm", {}),
    "talking_heads": ("talking_heads", {}),
    "ganimation": ("ganimation", {"training": {"repeats": 1000}}),
    "ganimation, 256 px": ("ganimation", {"architecture": {"size": 256}}),
    "face_rotator, morpher": ("face_rotator", {"base": "morpher", "training": _LENIENT}),
    "face_rotator, rotator": ("face_rotator", {"base": "rotator", "training": _LENIENT}),
    "face_rotator, combiner": ("face_rotator", {"base": "combiner", "training": _LENIENT}),
}
_TRAINED = [label for label in _SETTINGS if label != "ganimation, 256 px"]
# Reconstructors of frames: a setting, and the networks used.
_RUNNING = {
    "fomm": ("fomm", ("kp_detector", "generator")),
    "talking_heads": ("talking_heads", ("E_state_dict", "G_state_dict")),
    "ganimation": ("ganimation", ("G",)),
    "ganimation, 256 px": ("ganimation, 256 px", ("G",)),
    "face_rotator": ("face_rotator, combiner", ("morpher", "rotator", "combiner")),
    "face_rotator, known expression": ("face_rotator, combiner", ("rotator", "combiner")),
}


@dataclass(frozen=True, kw_only=True)
class ModelsOptions(CorpusOptions):
    """Options of the benchmark."""

    rounds: PositiveInt = 5
    """Frames per model, after one warm-up frame."""
    steps: PositiveInt = 2
    """Training steps per model, after one warm-up step."""


@benchmark("models")
def main(options: ModelsOptions) -> None:
    """Compare the models at their published settings: parameters, time per frame, time per training step."""
    report = Report("benchmarks/models.py: the models compared", options)
    with options.work_dir() as work:
        videos, name = corpus(options.input, work)
        data = build_dataset(videos, work, _SMALL_PX)
        plans = {label: _plan(*setting, work) for label, setting in _SETTINGS.items()}
        torch.set_num_threads(1)
        report.note(
            f"torch {torch.__version__}, CPU time of one thread, fp32; {name}. Frames are computed one at a time, "
            f"medians of {options.rounds}, the models alternating. Steps are of one sample and without VGG networks, medians of "
            f"{options.steps}."
        )
        figures = _run(report, plans, data, options.rounds)
        figures |= _train(report, plans, data, options.steps)
    report.finish({**figures, "peak_mib": peak_mib()})


def _plan(model: str, changes: Mapping[str, Any], work: Path) -> Plan[Any]:
    """A plan for batches of one sample."""
    file = work / "config.yaml"
    file.write_text(yaml.safe_dump(dict(changes)))
    return plan(model, str(file), batch=1)


def _run(report: Report, plans: Mapping[str, Plan[Any]], data: Path, rounds: int) -> dict[str, Any]:
    """Compare the networks that reconstruct frames."""
    parameters, sides = {}, {}
    for label, (setting, names) in _RUNNING.items():
        available = _task(plans[setting], data)[0].networks
        networks = {name: available[name] for name in names}
        parameters[label] = _to_run(networks)
        reconstructor = COURSES[_SETTINGS[setting][0]].reconstructor(networks, plans[setting].config)
        sides[label] = _side(reconstructor, Dataset.open(data))
    with torch.inference_mode():
        turns = [{label: _timed_s(side) for label, side in sides.items()} for _ in range(1 + rounds)]
    ms = {label: 1e3 * statistics.median(turn[label] for turn in turns[1:]) for label in sides}
    times_fomm = {label: ms[label] / ms[_REFERENCE] for label in ms}
    rows = [(label, parameters[label] / 1e6, _BYTES * parameters[label] / 1e6, ms[label], times_fomm[label]) for label in ms]
    report.table("Reconstructing a frame", ("model", "parameters, M", "MB in fp32", "ms per frame", "relative to fomm"), rows)
    return {"fomm_ms": ms[_REFERENCE]} | {f"{_name(label)}_times_fomm": value for label, value in times_fomm.items()}


def _train(report: Report, plans: Mapping[str, Plan[Any]], data: Path, steps: int) -> dict[str, Any]:
    """Compare training steps; one model is in memory at a time."""
    rows, seconds = [], {}
    for label in _TRAINED:
        task, stream = _task(plans[label], data)
        seconds[label] = _seconds_per_step(task, stream, plans[label].config.training, steps)
        trained = sum(_count(group["params"]) for each in task.optimizers.values() for group in each.param_groups)
        published = plan(task.name, label.partition(", ")[2] or next(iter(MODELS[task.name].configs)))
        batch = published.config.training.global_batch_size
        times_fomm = seconds[label] / seconds[_REFERENCE]
        rows.append((label, trained / 1e6, _checkpoint_bytes(task) / 1e6, batch, seconds[label], 1 / seconds[label], times_fomm))
    columns = ("model", "parameters, M", "checkpoint, MB", "published batch", "s per sample", "samples/s", "relative to fomm")
    report.table("Training", columns, rows)
    return {f"{_name(label)}_step_times_fomm": value / seconds[_REFERENCE] for label, value in seconds.items()}


def _seconds_per_step(task: Task, stream: ClipStream, training: Any, steps: int) -> float:
    """Median seconds per step; for a model that trains its generator only in some steps, of the mean over a cycle."""
    cycle = getattr(training, "generator_every", 1)
    with make_loader(stream, processes=1, augment=training.augment()) as loader:
        batch = next(iter(loader))
    # Step 0 is skipped: the combiner would check that the rotator was trained.
    task.step(batch, torch.Generator().manual_seed(1), 1)

    def take(first: int) -> None:
        for number in range(first, first + cycle):
            task.step(batch, torch.Generator().manual_seed(number), number)

    return statistics.median(_timed_s(partial(take, 2 + turn * cycle)) for turn in range(steps)) / cycle


def _task(model_plan: Plan[Any], data: Path) -> tuple[Task, ClipStream]:
    config = model_plan.config
    size_px, repeats = config.architecture.size, config.training.repeats
    stream = ClipStream(data, model_plan.view, global_batch_size=1, repeats=repeats, size=size_px)
    return model_plan.task(Runtime(world=World(), device=torch.device("cpu"), vgg="none", vggface="none"), stream), stream


@torch.inference_mode()
def _side(reconstructor: Reconstructor, data: Dataset) -> Callable[[], object]:
    """A function that reconstructs a frame of the first suitable clip."""
    for row in data.index(_COLUMNS).to_pylist():
        sample = data.read(row, reconstructor.size_px)
        choice = reconstructor.choose(sample)
        if isinstance(choice, Choice):
            return partial(reconstructor.prepare(sample, choice.given), choice.targets[:1])
    raise RuntimeError(f"no clip of {data.out} is suitable for {reconstructor.name}")


def _timed_s(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _to_run(networks: Mapping[str, nn.Module]) -> int:
    """Number of parameters needed for animation. For talking heads: a person's style replaces projection and embedder."""
    heads = networks.get("G_state_dict")
    if isinstance(heads, Generator) and heads.projection is not None:
        return _count(heads.parameters()) - heads.projection.numel() + heads.styles
    return sum(_count(network.parameters()) for network in networks.values())


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(each.numel() for each in parameters)


def _checkpoint_bytes(task: Task) -> int:
    """Size of all tensors of a checkpoint."""
    states = [network.state_dict() for network in task.networks.values()]
    states += [state for each in task.optimizers.values() for state in each.state_dict()["state"].values()]
    return sum(each.numel() * each.element_size() for state in states for each in state.values())


def _name(label: str) -> str:
    return label.replace(",", "").replace(" ", "_")


if __name__ == "__main__":
    sys.exit(main())
