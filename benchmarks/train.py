"""Training: images a second of a step, written plainly and as jobs.train runs it, and the time spent waiting for data.

    python -m benchmarks.train --data OUT [--model fomm] [--config vox-256] [--batch 16]

Both sides step on batches of the same shards, on a GPU where there is one: `plain` with pictures already on the device, in fp32
and eager; `ours` as `jobs.train` runs it, through `make_loader`, in bf16, channels_last and compiled (on a processor: fp32,
eager). Sides take turns. Without VGG's weights both drop the losses that need them.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.report import Report, add_options
from motionshards.dataset.loader import make_loader
from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.reading.world import World
from motionshards.dataset.stream import ClipStream
from motionshards.trainers.models import MODELS, plan
from motionshards.trainers.task import Means, Plan, Task


def main() -> None:
    """Measure both sides in turns and report."""
    options = _parser().parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    config = options.config or next(iter(MODELS[options.model].configs))
    wanted = plan(options.model, config, batch=options.batch)
    fast = device.type == "cuda"
    stream = ClipStream(options.data, wanted.view, global_batch_size=wanted.global_batch_size, repeats=1000)
    sides = {
        "plain": _task(wanted, stream, device, options.vgg),
        "ours": _task(
            wanted, stream, device, options.vgg, precision="bf16" if fast else "fp32", compiled=fast, channels_last=fast
        ),
    }
    with make_loader(stream, device=device, augment=wanted.augment) as loader:
        batches = iter(loader)
        held = [next(batches) for _ in range(2)]
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for task in sides.values():
            _steps(task, iter(held * options.warm), options.warm)
        for _ in range(options.rounds):
            found["plain"].append(_steps(sides["plain"], iter(held * options.steps), options.steps))
            found["ours"].append(_steps(sides["ours"], batches, options.steps))
    _report(options, device, wanted, found)


def _task(wanted: Plan, stream: ClipStream, device: torch.device, vgg: str, **how: object) -> Task:
    torch.manual_seed(0)
    return wanted.task(Means(world=World(), device=device, vgg=vgg, vggface="none", **how), stream)  # type: ignore[arg-type]


def _steps(task: Task, batches: Iterator[Batch], count: int) -> tuple[float, float]:
    """Seconds of so many steps, and of them those spent waiting for data."""
    waited, began = 0.0, time.perf_counter()
    for number in range(count):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        losses = task.step(batch, torch.Generator().manual_seed(number), number)
    total = float(torch.stack(list(losses.values())).sum())  # waits for the device
    assert total == total, "a loss is no number"
    return time.perf_counter() - began, waited


def _report(options: argparse.Namespace, device: torch.device, wanted: Plan, found: dict[str, list[tuple[float, float]]]) -> None:
    images = options.steps * wanted.global_batch_size
    rate = {name: images / statistics.median(seconds for seconds, _ in rounds) for name, rounds in found.items()}
    share = {name: statistics.median(waited / seconds for seconds, waited in rounds) for name, rounds in found.items()}
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    report = Report("benchmarks/train.py: a training step", options)
    report.note(
        f"torch {torch.__version__}, {device.type} ({name}); {options.model}, batches of {wanted.global_batch_size} samples "
        f"of {wanted.size} px, VGG: {options.vgg}; medians of {options.rounds} rounds of {options.steps} steps in turns."
    )
    rows = [(side, rate[side], rate[side] / rate["plain"], f"{share[side]:.1%}") for side in found]
    report.table("Steps", ("side", "samples/s", "times plain", "waiting for data"), rows)
    report.finish({"device": device.type, "times_plain": rate["ours"] / rate["plain"], "waiting": share["ours"]})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="a data set of frames of the config's size")
    parser.add_argument("--model", choices=sorted(MODELS), default="fomm")
    parser.add_argument("--config", help="by default the model's first")
    parser.add_argument("--vgg", default="none", help="weights, or none")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warm", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    add_options(parser)
    return parser


if __name__ == "__main__":
    main()
