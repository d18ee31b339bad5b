"""Teach a trained talking-heads model one more person, from a few frames.

    python -m jobs.finetune --checkpoint RUN/last.pt --video me.mp4 --t 8 --output person.pt
    python -m jobs.finetune --checkpoint RUN/last.pt --frames a.jpg b.jpg c.jpg --output person.pt

jobs.drive lets the person move. --steps 0 leaves the networks as they are: the person is then what the embedder makes of the
frames. The same input and --seed give the same person. Exit status: 0 written, 1 a fault, 2 unusable arguments or input,
130 interrupted; nothing is written by halves.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.images import BACKGROUND
from motionshards.trainers.talking_heads.config import CONFIGS
from motionshards.trainers.talking_heads.finetune import Trained, acquaint, finetune, restore
from motionshards.trainers.talking_heads.person import Acquainted, Person, save_person
from motionshards.trainers.talking_heads.portraits import CROPS, LANDMARKS, Portraits, face_model, of_pictures, of_video
from motionshards.trainers.talking_heads.training import picture_loss
from motionshards.trainers.video import Driving

OK, FAILED = 0, 1


@dataclass(frozen=True, slots=True)
class Done:
    """What was written.

    frames: that were learned from
    first, last: losses of the first and last step, by name; empty without steps
    """

    output: str
    frames: int
    steps: int
    first: dict[str, float]
    last: dict[str, float]
    seconds: float

    def __str__(self) -> str:
        losses = ", ".join(f"{name} {self.first[name]:.3g} to {value:.3g}" for name, value in self.last.items())
        return f"{self.output}: {self.frames} frames, {self.steps} steps in {self.seconds:.3g} s{f'; {losses}' if losses else ''}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        done = _finetune(options)
    except ConfigError as error:
        return end(UNUSABLE, f"error: {error}")
    except FloatingPointError as error:
        return end(FAILED, f"error: {error}")
    except OSError as error:
        return end(FAILED, f"error: {error.strerror or error}: {error.filename or options.output}")
    except KeyboardInterrupt:
        return end(INTERRUPTED, "interrupted")
    show(json.dumps(asdict(done)) if options.json else done)
    return OK


def _check(options: argparse.Namespace) -> None:
    """Raise ConfigError for arguments that cannot be."""
    if min(options.t, options.batch) < 1 or options.steps < 0:
        raise ConfigError("--t and --batch are at least 1, --steps is not negative")
    if options.output.is_dir():
        raise ConfigError(f"--output {options.output} is a directory, and a file is to be written")
    given = [options.checkpoint, *([options.video] if options.video else options.frames)]
    if any(path.exists() and options.output.exists() and options.output.samefile(path) for path in given):
        raise ConfigError(f"--output {options.output} is also an input")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: CUDA is not available here")


def _finetune(options: argparse.Namespace) -> Done:
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device)
    trained = restore(options.checkpoint, options.config, device)
    portraits = _portraits(options, trained.config.architecture.size)
    start = time.monotonic()
    person, losses = _taught(options, trained, portraits, device)
    landmarks = torch.from_numpy(portraits.landmarks_px)
    how = {"frames": len(landmarks), "steps": options.steps, "batch": options.batch, "seed": options.seed, "crop": options.crop}
    save_person(options.output, Acquainted(config=trained.config, person=person.cpu(), landmarks_px=landmarks), how)
    first, last = (losses[0], losses[-1]) if losses else ({}, {})
    return Done(str(options.output), len(landmarks), options.steps, first, last, round(time.monotonic() - start, 3))


def _portraits(options: argparse.Namespace, size_px: int) -> Portraits:
    model = face_model(options.landmarks)
    if options.video:
        return of_video(Driving.at(options.video), options.t, model, size_px, options.crop)
    return of_pictures(options.frames, model, size_px, options.crop, options.background)


def _taught(
    options: argparse.Namespace, trained: Trained, portraits: Portraits, device: torch.device
) -> tuple[Person, list[dict[str, float]]]:
    """The person, and the losses of each step. Raises FloatingPointError: one is no number."""
    goals = portraits.goals(device)
    person = acquaint(trained, goals)
    if options.steps == 0:
        return person, []
    loss = picture_loss(trained.config, options.vgg, options.vggface).to(device)
    plan = {"steps": options.steps, "batch": options.batch, "seed": options.seed}
    losses: list[dict[str, float]] = []
    with tqdm(total=options.steps, unit="step", disable=options.quiet or not sys.stderr.isatty(), file=sys.stderr) as bar:
        for each in finetune(person, trained.discriminator, goals, loss, trained.config.training, **plan):
            if not all(map(math.isfinite, each.values())):
                raise FloatingPointError(f"a loss is no number at step {len(losses) + 1}, and nothing is written")
            losses.append(each)
            bar.update()
    return person, losses


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="motionshards finetune", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", required=True, type=Path, help="of jobs.train --model talking_heads, or the authors'")
    parser.add_argument("--config", help=f"of a checkpoint that does not tell it: {', '.join(CONFIGS)}, or a YAML file")
    shown = parser.add_mutually_exclusive_group(required=True)
    shown.add_argument("--video", type=Path, help="of the person; --t of its frames are taken, evenly spread")
    shown.add_argument("--frames", type=Path, nargs="+", metavar="PICTURE", help="of the person")
    parser.add_argument(
        "--background",
        default=BACKGROUND,
        metavar="COLOUR",
        help="behind transparency: name or #rrggbb (default: %(default)s)",
    )
    parser.add_argument("--output", required=True, type=Path, help="file of the person, for jobs.drive")
    parser.add_argument("--t", type=int, default=8, metavar="FRAMES", help="of a video (default: 8)")
    parser.add_argument("--crop", choices=CROPS, default="face", help="face: as in VoxCeleb; none: pictures are so already")
    parser.add_argument("--landmarks", choices=LANDMARKS, default="dlib", help="as in the data that was trained on")
    learning = parser.add_argument_group("what is learned")
    learning.add_argument("--steps", type=int, default=40, help="0: nothing is trained (default: 40)")
    learning.add_argument("--batch", type=int, default=8, help="frames of a step, at most (default: 8)")
    learning.add_argument("--seed", type=int, default=0)
    learning.add_argument("--vgg", metavar="FILE|none", help="VGG19 weights; none drops that loss (default: torch hub's cache)")
    learning.add_argument("--vggface", metavar="FILE|none", help="VGGFace weights, as --vgg")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--json", action="store_true", help="the last line as JSON")
    return parser
