"""Fine-tune a trained talking-heads model to a person, from a few frames.

    python -m jobs.finetune --checkpoint RUN/last.pt --input me.mp4 --t 8 --output person.pt
    python -m jobs.finetune --checkpoint RUN/last.pt --images a.jpg b.jpg c.jpg --output person.pt

jobs.drive animates the person. With --steps 0 the networks stay unchanged, and the person is the mean embedding of the frames.
The same input and --seed give the same person. Exit status: 0 written, 1 failed, 2 invalid arguments or input, 130 interrupted.
The output is written atomically.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Group, Parameter, validators
from cyclopts.types import NonNegativeInt, PositiveInt

from motionshards.dataset.commandline import DeviceOption, OutputOptions, choice, command
from motionshards.jobs.options import BACKGROUND_HELP, TRAINING, PerceptualLossOptions, check_output, named_in
from motionshards.schemas.errors import TrainingFailed
from motionshards.trainers.images import BACKGROUND
from motionshards.trainers.parallel import choose_device
from motionshards.trainers.talking_heads.config import CONFIGS
from motionshards.trainers.talking_heads.finetune import Trained, create_person, finetune, restore
from motionshards.trainers.talking_heads.person import Person, SavedPerson, save_person
from motionshards.trainers.talking_heads.portraits import CROPS, LANDMARKS, Portraits, face_model, of_images, of_video
from motionshards.trainers.talking_heads.training import image_loss
from motionshards.trainers.video import Driving

_PERSON = Group("Images of the person", sort_key=-1, validator=validators.LimitedChoice(min=1, max=1))


@dataclass(frozen=True, slots=True)
class Done:
    """What was written.

    frames: number of frames that were trained on
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


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(OutputOptions, DeviceOption, PerceptualLossOptions):
    """Options of `motionshards finetune`."""

    input: Annotated[Path | None, Parameter(group=_PERSON)] = None
    """A video of the person; --t evenly spaced frames of it are used."""
    images: Annotated[tuple[Path, ...], Parameter(group=_PERSON, consume_multiple=1)] = ()
    """One or more images of the person."""
    checkpoint: Path
    """Checkpoint of `motionshards train --model talking_heads` or of the original repository."""
    config: Annotated[str | None, named_in(CONFIGS)] = None
    background: Annotated[str, BACKGROUND_HELP] = BACKGROUND
    output: Path
    """The file to write the person to, for `motionshards drive`."""
    t: PositiveInt = 8
    """Number of frames to use from a video."""
    crop: Annotated[str, choice(CROPS)] = "face"
    """face crops faces as in VoxCeleb; none is for images that are already cropped."""
    landmarks: Annotated[str, choice(LANDMARKS)] = "dlib"
    """The landmark model; use that of the training data."""
    steps: Annotated[NonNegativeInt, Parameter(group=TRAINING)] = 40
    """Training steps; 0 leaves the networks unchanged."""
    batch: Annotated[PositiveInt, Parameter(group=TRAINING)] = 8
    """Frames per step, at most."""
    seed: Annotated[int, Parameter(group=TRAINING)] = 0
    """Random seed of the order of frames."""


@command("finetune", renamed={"--frames": "--images", "--video": "--input"})
def main(options: FinetuneOptions) -> None:
    """Fine-tune a trained talking-heads model to a person."""
    check_output(options.output, (options.checkpoint, options.input, *options.images))
    options.print_result(_finetune(options))
    options.suggest(f"motionshards drive --checkpoint {options.output} --driving video.mp4 --output out.mp4")


def _finetune(options: FinetuneOptions) -> Done:
    device = choose_device(options.device)
    trained = restore(options.checkpoint, options.config, device)
    portraits = _portraits(options, trained.config.architecture.size)
    start = time.monotonic()
    person, losses = _trained(options, trained, portraits, device)
    landmarks = torch.from_numpy(portraits.landmarks_px)
    how = {"frames": len(landmarks), "steps": options.steps, "batch": options.batch, "seed": options.seed, "crop": options.crop}
    save_person(options.output, SavedPerson(config=trained.config, person=person.cpu(), landmarks_px=landmarks), how)
    first, last = (losses[0], losses[-1]) if losses else ({}, {})
    return Done(str(options.output), len(landmarks), options.steps, first, last, round(time.monotonic() - start, 3))


def _portraits(options: FinetuneOptions, size_px: int) -> Portraits:
    model = face_model(options.landmarks)
    if options.input:
        return of_video(Driving.at(options.input), options.t, model, size_px, options.crop)
    return of_images(options.images, model, size_px, options.crop, options.background)


def _trained(
    options: FinetuneOptions, trained: Trained, portraits: Portraits, device: torch.device
) -> tuple[Person, list[dict[str, float]]]:
    """Train the person, and collect the losses of each step. Raises TrainingFailed: one became NaN or infinite."""
    goals = portraits.targets(device)
    person = create_person(trained, goals)
    if options.steps == 0:
        return person, []
    loss = image_loss(trained.config, options.vgg, options.vggface).to(device)
    plan = {"steps": options.steps, "batch": options.batch, "seed": options.seed}
    losses: list[dict[str, float]] = []
    with options.bar("step", options.steps) as bar:
        for each in finetune(person, trained.discriminator, goals, loss, trained.config.training, **plan):
            if not all(map(math.isfinite, each.values())):
                raise TrainingFailed(f"a loss became NaN or infinite at step {len(losses) + 1}; nothing was written")
            losses.append(each)
            bar.update()
    return person, losses
