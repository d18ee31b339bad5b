"""A training step, written plainly and as `jobs.train` runs it: samples per second, and the time spent waiting for data.

    python -m benchmarks.train --data OUT [--model fomm] [--config vox-256] [--batch 16]

Both sides use batches from the same shards, on a GPU if there is one: `plain` with frames already on the device, eager and in
fp32; `ours` through `make_loader`, compiled, in bf16 and channels_last (on a CPU: eager and in fp32). The sides alternate.
Without VGG weights both drop the losses that need them.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from cyclopts.types import PositiveInt

from benchmarks.report import Report, ReportOptions, benchmark
from motionshards.dataset.commandline import OfDataset, choice
from motionshards.dataset.loader import make_loader
from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.reading.world import World
from motionshards.dataset.stream import ClipStream
from motionshards.trainers.models import MODELS, plan
from motionshards.trainers.task import Means, Plan, Task


@dataclass(frozen=True, kw_only=True)
class TrainOptions(ReportOptions, OfDataset):
    """Options of the benchmark. The frames of the dataset have the size of the config."""

    model: Annotated[str, choice(sorted(MODELS))] = "fomm"
    """The model."""
    config: str | None = None
    """Its config: a name or a YAML file; by default the first of the model."""
    vgg: str = "none"
    """VGG19 weights; `none` drops the loss that needs them."""
    batch: PositiveInt = 16
    """Samples of a step."""
    steps: PositiveInt = 20
    """Steps of a round."""
    warm: PositiveInt = 3
    """Warm-up steps, which are not measured."""
    rounds: PositiveInt = 5
    """Rounds of each side."""


@benchmark("train")
def main(options: TrainOptions) -> None:
    """Compare a training step of `jobs.train`, fed by `make_loader`, with one written plainly."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    config = options.config or next(iter(MODELS[options.model].configs))
    wanted = plan(options.model, config, batch=options.batch)
    fast = device.type == "cuda"
    stream = ClipStream(
        options.data,
        wanted.view,
        global_batch_size=wanted.config.training.global_batch_size,
        repeats=1000,
        size=wanted.config.architecture.size,
    )
    sides = {
        "plain": _task(wanted, stream, device, options.vgg),
        "ours": _task(
            wanted, stream, device, options.vgg, precision="bf16" if fast else "fp32", compiled=fast, channels_last=fast
        ),
    }
    with make_loader(stream, device=device, augment=wanted.config.training.augment()) as loader:
        batches = iter(loader)
        held = [next(batches) for _ in range(2)]
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for task in sides.values():
            _steps(task, iter(held * options.warm), options.warm)
        for _ in range(options.rounds):
            found["plain"].append(_steps(sides["plain"], iter(held * options.steps), options.steps))
            found["ours"].append(_steps(sides["ours"], batches, options.steps))
    _report(options, device, wanted, found)


def _task(wanted: Plan[Any], stream: ClipStream, device: torch.device, vgg: str, **how: object) -> Task:
    torch.manual_seed(0)
    return wanted.task(Means(world=World(), device=device, vgg=vgg, vggface="none", **how), stream)  # type: ignore[arg-type]


def _steps(task: Task, batches: Iterator[Batch], count: int) -> tuple[float, float]:
    """Seconds of `count` steps, and how many of them were spent waiting for data."""
    waited, began = 0.0, time.perf_counter()
    for number in range(count):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        losses = task.step(batch, torch.Generator().manual_seed(number), number)
    total = float(torch.stack(list(losses.values())).sum())  # waits for the device
    assert total == total, "a loss is NaN"
    return time.perf_counter() - began, waited


def _report(options: TrainOptions, device: torch.device, wanted: Plan[Any], found: dict[str, list[tuple[float, float]]]) -> None:
    samples, size_px = wanted.config.training.global_batch_size, wanted.config.architecture.size
    rate = {name: options.steps * samples / statistics.median(seconds for seconds, _ in rounds) for name, rounds in found.items()}
    share = {name: statistics.median(waited / seconds for seconds, waited in rounds) for name, rounds in found.items()}
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    report = Report("benchmarks/train.py: a training step", options)
    report.note(
        f"torch {torch.__version__}, {device.type} ({name}); {options.model}, batches of {samples} samples of {size_px} px, "
        f"VGG: {options.vgg}; medians of {options.rounds} rounds of {options.steps} steps in turns."
    )
    rows = [(side, rate[side], rate[side] / rate["plain"], f"{share[side]:.1%}") for side in found]
    report.table("Steps", ("side", "samples/s", "times plain", "waiting for data"), rows)
    report.finish({"device": device.type, "times_plain": rate["ours"] / rate["plain"], "waiting": share["ours"]})


if __name__ == "__main__":
    sys.exit(main())
