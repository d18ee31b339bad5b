"""Train a model on a dataset: python -m jobs.train --model fomm --config vox-256 --data OUT --output RUN

The same command resumes a run that was stopped or killed. On several GPUs: torchrun --nproc-per-node 8 -m jobs.train ….
Exit status: 0 trained, 1 a loss or weight became NaN or infinite, or reading failed, 2 invalid arguments, 130 stopped and saved.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.distributed as dist
from cyclopts import Group, Parameter
from cyclopts.types import PositiveInt

from motionshards.dataset.commandline import COMPUTATION, OUTPUT, DatasetArgument, DeviceOption, OutputOptions, choice, command
from motionshards.dataset.loader import Loader, make_loader
from motionshards.dataset.reading.open_dataset import stored_sizes
from motionshards.dataset.reading.world import World
from motionshards.dataset.stream import ClipStream
from motionshards.jobs.options import TRAINING, PerceptualLossOptions
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.output import only_writer, refuse_foreign_files
from motionshards.trainers.checkpoint import LAST, Progress, remedy, resume, saved_step
from motionshards.trainers.log import METRICS, last_scalars
from motionshards.trainers.loop import Run, train
from motionshards.trainers.models import MODELS, plan
from motionshards.trainers.parallel import start
from motionshards.trainers.task import PRECISIONS, Plan, Runtime, Task
from motionshards.transforms.weight_file import read

_CONFIG = "config.json"
# Files of a run that was killed before its first checkpoint; release 0.1 wrote pictures instead of images.
RUN_FILES = (_CONFIG, METRICS, LAST, "step-*", "epoch-*", "images", "pictures", "tensorboard")
_DATA = Group("Data", sort_key=1)
_CONFIGS = "; ".join(f"{name}: {', '.join(model.configs)}" for name, model in MODELS.items())


@dataclass(frozen=True, kw_only=True)
class TrainOptions(OutputOptions, DeviceOption, PerceptualLossOptions, DatasetArgument):
    """Options of `motionshards train`."""

    model: Annotated[str, Parameter(metavar="NAME", help=f"The model to train: {', '.join(sorted(MODELS))}.")]
    config: Annotated[str, Parameter(metavar="NAME|FILE", help=f"Published settings ({_CONFIGS}), or a YAML file.")]
    output: Path
    """Directory of the run: checkpoints, metrics, images."""
    init: Path | None = None
    """Start with the weights of this checkpoint, of a run or of the original repository."""
    split: Annotated[str, Parameter(group=_DATA)] = "train"
    """The split to train on."""
    where: Annotated[str | None, Parameter(group=_DATA)] = None
    """Use only clips that satisfy this condition, such as 'blur > 50 and abs(yaw_deg) < 60'."""
    frames_of: Annotated[str | None, choice(("stills", "video")), Parameter(group=_DATA)] = None
    """Train on the stills or the video of a dataset that has both; by default on the stills."""
    workers: Annotated[PositiveInt | None, Parameter(group=_DATA)] = None
    """Processes that read and decode; by default one per core, at most 8."""
    cache: Annotated[Path | None, Parameter(group=_DATA)] = None
    """Directory to cache the shards of a URL in."""
    epochs: Annotated[PositiveInt | None, Parameter(group=TRAINING)] = None
    """Epochs in total; by default those of the config. More than before extend a finished run, except of ganimation."""
    batch: Annotated[PositiveInt | None, Parameter(group=TRAINING)] = None
    """Samples per step over all processes; by default those of the config."""
    seed: Annotated[int, Parameter(group=TRAINING)] = 0
    """Random seed of initial weights, sample order, augmentation and everything else that is random."""
    precision: Annotated[str, choice(PRECISIONS), Parameter(group=COMPUTATION)] = "fp32"
    """Precision of the forward passes."""
    compile: Annotated[bool, Parameter(group=COMPUTATION)] = False
    """Compile the networks with torch.compile."""
    channels_last: Annotated[bool, Parameter(group=COMPUTATION)] = False
    """Use the channels_last memory format."""
    accumulate: Annotated[PositiveInt, Parameter(group=COMPUTATION)] = 1
    """Parts of a batch to compute one after the other, to save memory."""
    log_every: Annotated[PositiveInt, Parameter(group=OUTPUT)] = 50
    """Steps between lines of metrics; the first and the last step are logged, too."""
    save_every: Annotated[PositiveInt, Parameter(group=OUTPUT)] = 1000
    """Steps between checkpoints."""
    images_every: Annotated[PositiveInt, Parameter(group=OUTPUT)] = 1000
    """Steps between image grids; the last step has one, too."""
    keep_every: Annotated[PositiveInt, Parameter(group=OUTPUT)] = 10
    """Epochs between checkpoints that are kept."""
    stop_after: Annotated[PositiveInt | None, Parameter(group=OUTPUT)] = None
    """Save and stop after this step."""


@dataclass(frozen=True, slots=True)
class Done:
    """Where a run ended.

    metrics: the last line of the log: epoch, mean losses, throughput; empty if none was written
    seconds: of this call
    """

    checkpoint: str
    step: int
    epoch: int
    metrics: dict[str, float]
    seconds: float

    def __str__(self) -> str:
        return f"{self.checkpoint}: step {self.step:,}, epoch {self.epoch}; {self.seconds:.3g} s"


def _resumption(options: TrainOptions) -> str:
    step = saved_step(options.output / LAST)
    return "" if step is None else f"The same command resumes from the checkpoint of step {step:,}"


@command("train", after=_resumption, renamed={"--processes": "--workers", "--pictures-every": "--images-every"})
def main(options: TrainOptions) -> None:
    """Train a model on a dataset; the same command resumes a run that was stopped or killed."""
    try:
        done = _train(options)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if done is not None:
        options.print_result(done)
        where = f"--checkpoint {done.checkpoint} --output {options.output / 'evaluation'}"
        options.suggest(f"motionshards evaluate --model {options.model} {where} {options.data}")


def _train(options: TrainOptions) -> Done | None:
    """Train; returns None in all processes but the first."""
    start_s = time.monotonic()
    if not (options.output / LAST).is_file():
        refuse_foreign_files(options.output, "training run", RUN_FILES)
    torch.manual_seed(options.seed)  # for initial weights; everything else uses generators
    model_plan = plan(options.model, options.config, options.epochs, options.batch)
    world, device = start(options.device)
    stream = _stream(options, model_plan, world)
    task = model_plan.task(_runtime(options, world, device), stream)
    options.output.mkdir(parents=True, exist_ok=True)
    if world.rank:
        _run(options, model_plan, stream, task, device)
        return None
    with only_writer(options.output):
        (options.output / _CONFIG).write_text(json.dumps(task.config, indent=1) + "\n")
        progress = _run(options, model_plan, stream, task, device)
    seconds = round(time.monotonic() - start_s, 3)
    return Done(str(options.output / LAST), progress.step, progress.epoch, last_scalars(options.output), seconds)


def _stream(options: TrainOptions, model_plan: Plan[Any], world: World) -> ClipStream:
    size_px, sizes = model_plan.config.architecture.size, stored_sizes(options.data)
    if size_px not in sizes:
        stored = " and ".join(map(str, sizes))
        own = f"in a config of your own set architecture.size: {sizes[0]} (see docs/training.md)"
        needs = f"{options.data} has frames of {stored} px, and --config {options.config} needs {size_px}"
        raise ConfigError(f"{needs}: build with --size {size_px}, or {own}")
    return ClipStream(
        options.data,
        model_plan.view,
        global_batch_size=model_plan.config.training.global_batch_size,
        split=options.split,
        where=options.where,
        seed=options.seed,
        repeats=model_plan.config.training.repeats,
        world=world,
        cache=options.cache,
        frames=options.frames_of,
        size=size_px,
    )


def _runtime(options: TrainOptions, world: World, device: torch.device) -> Runtime:
    return Runtime(
        world=world,
        device=device,
        precision=options.precision,
        compiled=options.compile,
        channels_last=options.channels_last,
        accumulate=options.accumulate,
        vgg=options.vgg,
        vggface=options.vggface,
    )


def _run(options: TrainOptions, model_plan: Plan[Any], stream: ClipStream, task: Task, device: torch.device) -> Progress:
    with make_loader(stream, device=device, processes=options.workers, augment=model_plan.config.training.augment()) as loader:
        progress = _start_of_run(options, model_plan, task, device, loader.state_dict())
        _move_to(progress, loader, options.output / LAST)
        if stream.world.rank == 0:
            what, steps = f"{stream.slots:,} samples of {stream.size_px} px per epoch", len(loader)
            total = steps * model_plan.config.training.epochs
            print(f"{what}, {steps:,} steps; at step {progress.step:,} of {total:,}", file=sys.stderr)
        return train(task, loader, _how(options, model_plan), progress)


def _move_to(progress: Progress, loader: Loader, last: Path) -> None:
    """Move the loader to the position of a run. Raises ConfigError: the samples are not those that the run was trained on."""
    try:
        loader.load_state_dict(progress.loader)
    except ConfigError as error:
        raise ConfigError(f"{last} cannot be resumed: {error}. {remedy(last)}") from error


def _start_of_run(
    options: TrainOptions, model_plan: Plan[Any], task: Task, device: torch.device, initial_state: dict[str, object]
) -> Progress:
    """Find where the run is: at its last checkpoint, or at the start, with given weights or random ones."""
    last = options.output / LAST
    if last.exists():
        return resume(last, task, device, can_extend=model_plan.config.training.can_extend)
    if options.init is not None:
        task.load_weights(read(options.init, device), options.init)
    return Progress(0, 0, initial_state)


def _how(options: TrainOptions, model_plan: Plan[Any]) -> Run:
    return Run(
        directory=options.output,
        epochs=model_plan.config.training.epochs,
        seed=options.seed,
        log_every=options.log_every,
        save_every=options.save_every,
        images_every=options.images_every,
        keep_every=options.keep_every,
        stop_after=options.stop_after,
        quiet=options.quiet,
    )
