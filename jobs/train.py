"""Train a model from a data set: python -m jobs.train --model fomm --config vox-256 --data OUT --output RUN

The same command goes on where a run was stopped or killed. On several GPUs: torchrun --nproc-per-node 8 -m jobs.train ….
Exit status: 0 trained, 1 a loss or weight is no number, or reading failed, 2 unusable arguments, 130 stopped (and saved).
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end
from motionshards.dataset.loader import make_loader
from motionshards.dataset.reading.world import World
from motionshards.dataset.stream import ClipStream
from motionshards.schemas.errors import ConfigError, DatasetError, MotionShardsError
from motionshards.schemas.lock import only_writer
from motionshards.schemas.output import refuse_strangers
from motionshards.trainers.checkpoint import LAST, Place, resume
from motionshards.trainers.log import METRICS
from motionshards.trainers.loop import Run, train
from motionshards.trainers.models import MODELS, plan
from motionshards.trainers.parallel import start
from motionshards.trainers.task import PRECISIONS, Means, Plan, Task
from motionshards.transforms.weight_file import read

_CONFIG = "config.json"
# A run that was killed before its first checkpoint leaves these.
RUN_FILES = (_CONFIG, METRICS, LAST, "step-*", "epoch-*", "pictures", "events.out.tfevents.*")


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="motionshards train", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, choices=sorted(MODELS))
    known = "; ".join(f"{name}: {', '.join(model.configs)}" for name, model in MODELS.items())
    parser.add_argument("--config", required=True, help=f"a name ({known}) or a YAML file")
    parser.add_argument("--data", required=True, help="directory or URL of a data set that dataset.build made")
    parser.add_argument("--output", required=True, type=Path, help="directory of the run: checkpoints, metrics, pictures")
    parser.add_argument(
        "--init", type=Path, metavar="CKPT", help="begin with the weights of a checkpoint, of ours or the authors'"
    )
    parser.add_argument(
        "--vgg",
        metavar="FILE|none",
        help="VGG19 weights, of face_rotator VGG16's; none drops that loss (default: torch hub's cache)",
    )
    parser.add_argument(
        "--vggface",
        metavar="FILE|none",
        help="VGGFace weights, of talking_heads; none drops that loss (default: torch hub's cache)",
    )
    data = parser.add_argument_group("data")
    data.add_argument("--split", default="train")
    data.add_argument(
        "--where", metavar="CONDITION", help="only clips for which this holds, as 'blur > 50 and abs(yaw_deg) < 60'"
    )
    data.add_argument("--processes", type=int, help="that read and decode; by default one a core, at most 8")
    data.add_argument("--cache", type=Path, help="directory for the shards of a URL")
    learning = parser.add_argument_group("what is learned")
    learning.add_argument("--epochs", type=int, help="instead of the config's")
    learning.add_argument("--batch", type=int, help="samples of a step over all processes, instead of the config's")
    learning.add_argument("--seed", type=int, default=0)
    means = parser.add_argument_group("how it is computed")
    means.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    means.add_argument("--precision", choices=PRECISIONS, default="fp32")
    means.add_argument("--compile", action="store_true", help="compile the networks")
    means.add_argument("--channels-last", action="store_true")
    means.add_argument("--accumulate", type=int, default=1, metavar="PARTS", help="parts of a batch, one after the other")
    notes = parser.add_argument_group("what is written")
    notes.add_argument("--log-every", type=int, default=50, metavar="STEPS")
    notes.add_argument("--save-every", type=int, default=1000, metavar="STEPS")
    notes.add_argument("--pictures-every", type=int, default=1000, metavar="STEPS")
    notes.add_argument("--keep-every", type=int, default=10, metavar="EPOCHS", help="checkpoints that stay")
    notes.add_argument("--stop-after", type=int, metavar="STEP")
    notes.add_argument("--quiet", action="store_true")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _train(options)
    except (ConfigError, DatasetError) as error:
        return end(UNUSABLE, f"error: {error}")
    except MotionShardsError as error:
        return end(1, f"error: {error}")
    except KeyboardInterrupt:
        return end(INTERRUPTED, "stopped; the same command goes on")
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _train(options: argparse.Namespace) -> int:
    if min(options.accumulate, options.log_every, options.save_every, options.pictures_every, options.keep_every) < 1:
        raise ConfigError("--accumulate, --log-every, --save-every, --pictures-every and --keep-every are at least 1")
    if not (options.output / LAST).is_file():
        refuse_strangers(options.output, "training run", RUN_FILES)
    torch.manual_seed(options.seed)  # of the first weights; all else is drawn from generators
    wanted = plan(options.model, options.config, options.epochs, options.batch)
    world, device = start(options.device)
    stream = _stream(options, wanted, world)
    task = wanted.task(_means(options, world, device), stream)
    options.output.mkdir(parents=True, exist_ok=True)
    if world.rank:
        return _run(options, wanted, stream, task, device)
    with only_writer(options.output):
        (options.output / _CONFIG).write_text(json.dumps(task.config, indent=1) + "\n")
        return _run(options, wanted, stream, task, device)


def _stream(options: argparse.Namespace, wanted: Plan, world: World) -> ClipStream:
    stream = ClipStream(
        options.data,
        wanted.view,
        global_batch_size=wanted.global_batch_size,
        split=options.split,
        where=options.where,
        seed=options.seed,
        repeats=wanted.repeats,
        world=world,
        cache=options.cache,
    )
    if stream.size_px != wanted.size:
        raise ConfigError(f"{options.data} has frames of {stream.size_px} px, and --config {options.config} wants {wanted.size}")
    return stream


def _means(options: argparse.Namespace, world: World, device: torch.device) -> Means:
    return Means(
        world=world,
        device=device,
        precision=options.precision,
        compiled=options.compile,
        channels_last=options.channels_last,
        accumulate=options.accumulate,
        vgg=options.vgg,
        vggface=options.vggface,
    )


def _run(options: argparse.Namespace, wanted: Plan, stream: ClipStream, task: Task, device: torch.device) -> int:
    with make_loader(stream, device=device, processes=options.processes, augment=wanted.augment) as loader:
        place = _place(options, task, device, loader.state_dict())
        loader.load_state_dict(place.loader)
        if stream.world.rank == 0:
            print(f"{stream.slots:,} samples an epoch, {len(loader):,} steps; at step {place.step:,}", file=sys.stderr)
        train(task, loader, _how(options, wanted), place)
    return 0


def _place(options: argparse.Namespace, task: Task, device: torch.device, beginning: dict[str, object]) -> Place:
    """Where the run is: at its last checkpoint, or at the beginning, with given weights or its own."""
    last = options.output / LAST
    if last.exists():
        return resume(last, task, device)
    if options.init is not None:
        task.begin(read(options.init, device), options.init)
    return Place(0, 0, beginning)


def _how(options: argparse.Namespace, wanted: Plan) -> Run:
    return Run(
        directory=options.output,
        epochs=wanted.epochs,
        seed=options.seed,
        log_every=options.log_every,
        save_every=options.save_every,
        pictures_every=options.pictures_every,
        keep_every=options.keep_every,
        stop_after=options.stop_after,
        quiet=options.quiet,
    )
