"""A plain training step compared with that of `jobs.train`: samples per second, and the time spent waiting for data.

    python -m benchmarks.train --data OUT [--model fomm] [--config vox-256] [--batch 16] [--device cuda] [--eager]

All use batches from the same shards: `plain` has them on the device already, eager and in fp32 with PyTorch's defaults, which
convolve in TF32; `motionshards` reads them with `make_loader`, compiled, in bf16 and channels_last (on a CPU: eager and in fp32).
`motionshards, without the loader` has the batches of `plain`: its rate relative to `motionshards` is the cost of the data, while
time spent in the loader may overlap with GPU work. The sides alternate. Without VGG weights, all drop the losses that need them.
"""

import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts.types import PositiveInt

from benchmarks.clock import device_and_name
from benchmarks.report import Report, ReportOptions, benchmark
from motionshards.dataset.commandline import DatasetArgument, DeviceOption, choice
from motionshards.dataset.loader import make_loader
from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.reading.world import World
from motionshards.dataset.stream import ClipStream
from motionshards.trainers.models import MODELS, plan
from motionshards.trainers.task import Plan, Runtime, Task

_WITHOUT_LOADER = "motionshards, without the loader"


@dataclass(frozen=True, kw_only=True)
class TrainOptions(ReportOptions, DatasetArgument, DeviceOption):
    """Options of the benchmark. The frames of the dataset must have the size of the config."""

    model: Annotated[str, choice(sorted(MODELS))] = "fomm"
    """The model."""
    config: str | None = None
    """Its config: a name or a YAML file; by default the first of the model."""
    vgg: str = "none"
    """VGG19 weights; `none` drops the loss that needs them."""
    batch: PositiveInt = 16
    """Samples per step."""
    steps: PositiveInt = 20
    """Steps per round."""
    warm: PositiveInt = 3
    """Warm-up steps, which are not measured."""
    rounds: PositiveInt = 5
    """Rounds of each side."""
    eager: bool = False
    """Do not compile."""


@benchmark("train")
def main(options: TrainOptions) -> None:
    """Compare a training step of `jobs.train`, fed by `make_loader`, with a plain one."""
    option, name = device_and_name(options.device)
    device = torch.device(option)
    torch.backends.cudnn.benchmark = True
    config = options.config or next(iter(MODELS[options.model].configs))
    model_plan = plan(options.model, config, batch=options.batch)
    fast = device.type == "cuda"
    stream = ClipStream(
        options.data,
        model_plan.view,
        global_batch_size=model_plan.config.training.global_batch_size,
        repeats=1000,
        size=model_plan.config.architecture.size,
    )
    settings = {"precision": "bf16" if fast else "fp32", "compiled": fast and not options.eager, "channels_last": fast}
    tasks = {
        "plain": _task(model_plan, stream, device, options.vgg),
        "motionshards": _task(model_plan, stream, device, options.vgg, **settings),
    }
    with make_loader(stream, device=device, augment=model_plan.config.training.augment()) as loader:
        batches = iter(loader)
        preloaded = cycle([next(batches) for _ in range(2)])
        sides = {
            "plain": (tasks["plain"], preloaded),
            "motionshards": (tasks["motionshards"], batches),
            _WITHOUT_LOADER: (tasks["motionshards"], preloaded),
        }
        warm_s = {side: _steps(task, preloaded, options.warm)[0] for side, (task, _) in sides.items()}
        found: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side, (task, source) in sides.items():
                found[side].append(_steps(task, source, options.steps))
    samples, size_px = model_plan.config.training.global_batch_size, model_plan.config.architecture.size
    report = Report("benchmarks/train.py: a training step", options)
    report.note(
        f"{name}; {options.model}, batches of {samples} samples of {size_px} px, VGG: {Path(options.vgg).name}; "
        f"motionshards: {_named(settings)}. Medians of {options.rounds} alternating rounds of {options.steps} steps."
    )
    report.finish({"device": option, **_compare(report, options.steps * samples, warm_s, found)})


def _named(settings: Mapping[str, Any]) -> str:
    return ", ".join(str(value) if isinstance(value, str) else name for name, value in settings.items() if value)


def _task(model_plan: Plan[Any], stream: ClipStream, device: torch.device, vgg: str, **settings: object) -> Task:
    torch.manual_seed(0)
    return model_plan.task(Runtime(world=World(), device=device, vgg=vgg, vggface="none", **settings), stream)  # type: ignore[arg-type]


def _steps(task: Task, batches: Iterator[Batch], count: int) -> tuple[float, float]:
    """Seconds of `count` steps, and how many of them were spent waiting for data."""
    waited, began = 0.0, time.perf_counter()
    for number in range(count):
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        losses = task.step(batch, torch.Generator().manual_seed(number), number)
    total = float(torch.stack(list(losses.values())).sum())  # waits for the device
    assert total == total, "a loss is NaN"
    return time.perf_counter() - began, waited


def _compare(
    report: Report, samples: int, warm_s: dict[str, float], found: dict[str, list[tuple[float, float]]]
) -> dict[str, Any]:
    rate = {side: samples / statistics.median(seconds for seconds, _ in rounds) for side, rounds in found.items()}
    share = {side: statistics.median(waited / seconds for seconds, waited in rounds) for side, rounds in found.items()}
    rows = [(side, warm_s[side], rate[side], rate[side] / rate["plain"], f"{share[side]:.1%}") for side in found]
    report.table("Steps", ("side", "first steps, s", "samples/s", "speedup", "waiting for data"), rows)
    return {
        "times_plain": rate["motionshards"] / rate["plain"],
        "samples_s": rate["motionshards"],
        "waiting": share["motionshards"],
        "times_without_loader": rate[_WITHOUT_LOADER] / rate["motionshards"],
    }


if __name__ == "__main__":
    sys.exit(main())
