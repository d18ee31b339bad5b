"""Edit the expression of a face in an image, by a trained GANimation.

    python -m jobs.edit --checkpoint RUN/last.pt --image face.jpg --au AU12=1.0 --au AU04=0.5 --output out.png
    python -m jobs.edit --checkpoint RUN/last.pt --image face.jpg --strip AU12 --output strip.png

Intensities are from 0 to 1: OpenFace's 0 to 5 divided by 5. Action units that are not named are taken from --current, or are 0
without it: a face that smiles then stops smiling. Exit status: 0 written, 1 failed, 2 invalid arguments or input,
130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter

from motionshards.dataset.commandline import DeviceOption, OutputOptions, command
from motionshards.jobs.options import BACKGROUND_HELP, check_output, named_in
from motionshards.schemas.action_units import INTENSITIES
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.faces import find_face
from motionshards.trainers.ganimation.config import CONFIGS
from motionshards.trainers.ganimation.edit import Editor, Intensities, Strip, au_name, intensity, read_current, with_value
from motionshards.trainers.ganimation.restore import restore
from motionshards.trainers.images import BACKGROUND, read_image
from motionshards.trainers.parallel import choose_device
from motionshards.trainers.video import Rgb, write_image
from motionshards.transforms.extract.crop import Window
from motionshards.transforms.extract.landmarks import models

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_STEPS = 7
_MOST_STEPS = 50


@dataclass(frozen=True, slots=True)
class Done:
    """What was written.

    width_px, height_px: of the output
    window: of the face in the image: x0 y0 x1 y1, end exclusive
    aus: requested intensities by name, without that of a strip
    seconds: of finding the face, editing and writing
    """

    output: str
    width_px: int
    height_px: int
    window: Window
    aus: dict[str, float]
    seconds: float

    def __str__(self) -> str:
        requested = ", ".join(f"{name} {value:.2f}" for name, value in self.aus.items() if value) or "all 0"
        place = ", ".join(map(str, self.window))
        return f"{self.output}: {self.width_px} x {self.height_px} px, face in ({place}); {requested}; {self.seconds:.3g} s"


@dataclass(frozen=True, kw_only=True)
class EditOptions(OutputOptions, DeviceOption):
    """Options of `motionshards edit`."""

    checkpoint: Path
    """Checkpoint of `motionshards train --model ganimation` or of the original repository."""
    config: Annotated[str | None, named_in(CONFIGS)] = None
    image: Path
    """An image with a face."""
    background: Annotated[str, BACKGROUND_HELP] = BACKGROUND
    au: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="NAME=VALUE",
            help="An action unit and its intensity from 0 to 1 (OpenFace's 0 to 5 divided by 5), such as AU12=1.0; "
            f"repeatable. Action units: {', '.join(INTENSITIES)}.",
        ),
    ] = ()
    current: Path | None = None
    """OpenFace's csv file of the image: the other action units keep these intensities; else they become 0."""
    strip: Annotated[
        str | None,
        Parameter(
            metavar="NAME[=FIRST:LAST:STEPS]",
            help=f"Write a strip of several intensities of one action unit, with their attention masks; by default 0:1:{_STEPS}.",
        ),
    ] = None
    output: Annotated[Path, Parameter(help=f"The image to write: {', '.join(_SUFFIXES)}.")]
    crop: Literal["face", "none"] = "face"
    """face crops the face in the image; none is for images that show only a face."""

    def __post_init__(self) -> None:
        """Raise ConfigError if no change is requested."""
        if not self.au and self.strip is None:
            raise ConfigError("pass --au or --strip to choose what to change")


@command("edit")
def main(options: EditOptions) -> None:
    """Edit the expression of a face in an image, by a trained GANimation."""
    check_output(options.output, (options.checkpoint, options.image, options.current), _SUFFIXES)
    options.print_result(_edit(options))


def _edit(options: EditOptions) -> Done:
    device = choose_device(options.device)
    strip = None if options.strip is None else _strip(options.strip)
    target = _target(options, strip)
    config, generator = restore(options.checkpoint, options.config)
    image, start, size = read_image(options.image, options.background), time.monotonic(), config.architecture.size
    window = _window(options, image, size)
    editor = Editor(generator, size, device)
    edited = editor.edit(image, window, target) if strip is None else editor.strip(image, window, strip, target)
    write_image(options.output, edited)
    requested = {name: round(float(value), 4) for name, value in zip(INTENSITIES, target, strict=True)}
    if strip is not None:
        del requested[strip.au]
    return Done(str(options.output), edited.shape[1], edited.shape[0], window, requested, round(time.monotonic() - start, 3))


def _target(options: EditOptions, strip: Strip | None) -> Intensities:
    """Combine the current intensities, or 0, with the requested ones."""
    target = np.zeros(len(INTENSITIES), np.float32) if options.current is None else read_current(options.current)
    named = [] if strip is None else [strip.au]
    for text in options.au:
        name, is_given, value = text.partition("=")
        if not is_given:
            raise ConfigError(f"--au {text} must be of the form AU12=1.0")
        named.append(au_name(name))
        target = with_value(target, named[-1], intensity(value))
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise ConfigError(f"{', '.join(twice)} is given twice")
    return target


def _strip(text: str) -> Strip:
    """Parse `AU12`, or `AU12=0:1:7` for first, last and number of values."""
    name, is_given, values = text.partition("=")
    if not is_given:
        return Strip(au_name(name), tuple(np.linspace(0, 1, _STEPS).tolist()))
    parts = values.split(":")
    count = int(parts[2]) if len(parts) == 3 and parts[2].isdecimal() else 0
    if not 2 <= count <= _MOST_STEPS:
        raise ConfigError(
            f"--strip {text} must be of the form AU12=0:1:7: first and last intensity, and 2 to {_MOST_STEPS} steps"
        )
    return Strip(au_name(name), tuple(np.linspace(intensity(parts[0]), intensity(parts[1]), count).tolist()))


def _window(options: EditOptions, image: Rgb, size: int) -> Window:
    """Find the face to edit."""
    if options.crop == "none":
        return 0, 0, image.shape[1], image.shape[0]
    model = models.load("dlib")
    assert model is not None
    face = find_face(image, model, size)
    if face is None:
        raise ConfigError(f"no face was found in {options.image}; --crop none uses the whole image")
    return face.window
