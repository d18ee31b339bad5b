"""Give the face of a picture other action units, with a trained GANimation.

    python -m jobs.edit --checkpoint RUN/last.pt --image face.jpg --au AU12=1.0 --au AU04=0.5 --output out.png
    python -m jobs.edit --checkpoint RUN/last.pt --image face.jpg --strip AU12 --output strip.png

Intensities are from 0 to 1: OpenFace's 0 to 5 divided by 5. Action units that are not named are as --current tells, or 0 without
it: a face that smiles then stops smiling. Exit status: 0 written, 1 a fault, 2 unusable arguments or input, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.schemas.action_units import INTENSITIES
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.faces import find_face
from motionshards.trainers.ganimation.config import CONFIGS
from motionshards.trainers.ganimation.edit import Editor, Intensities, Strip, au_name, intensity, read_current, with_value
from motionshards.trainers.ganimation.restore import restore
from motionshards.trainers.images import BACKGROUND, read_image
from motionshards.trainers.video import Picture, write_picture
from motionshards.transforms.extract.crop import Window
from motionshards.transforms.extract.landmarks import models

OK, FAILED = 0, 1
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_SHADES = 7
_MOST_SHADES = 50


@dataclass(frozen=True, slots=True)
class Done:
    """What was written.

    width_px, height_px: of the output
    window: in the picture, whose face was changed: x0 y0 x1 y1, end exclusive
    aus: intensities that were asked for, by name, but for that of a strip
    seconds: of finding, painting and writing
    """

    output: str
    width_px: int
    height_px: int
    window: Window
    aus: dict[str, float]
    seconds: float

    def __str__(self) -> str:
        asked = ", ".join(f"{name} {value:.2f}" for name, value in self.aus.items() if value) or "all 0"
        place = ", ".join(map(str, self.window))
        return f"{self.output}: {self.width_px} x {self.height_px} px, face in ({place}); {asked}; {self.seconds:.3g} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        done = _edit(options)
    except ConfigError as error:
        return end(UNUSABLE, f"error: {error}")
    except OSError as error:
        return end(FAILED, f"error: {error.strerror or error}: {error.filename or options.output}")
    except KeyboardInterrupt:
        return end(INTERRUPTED, "interrupted")
    show(json.dumps(asdict(done)) if options.json else done)
    return OK


def _check(options: argparse.Namespace) -> None:
    """Raise ConfigError for arguments that contradict each other."""
    if not options.au and options.strip is None:
        raise ConfigError("--au or --strip says what is to change")
    if options.output.suffix.lower() not in _SUFFIXES or options.output.is_dir():
        raise ConfigError(f"--output {options.output} must be a file called {', '.join(f'*{suffix}' for suffix in _SUFFIXES)}")
    for name in ("checkpoint", "image", "current"):
        given = getattr(options, name)
        if given is not None and given.exists() and options.output.exists() and options.output.samefile(given):
            raise ConfigError(f"--output {options.output} is the --{name}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: CUDA is not available here")


def _edit(options: argparse.Namespace) -> Done:
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    strip = None if options.strip is None else _strip(options.strip)
    wanted = _wanted(options, strip)
    config, generator = restore(options.checkpoint, options.config)
    picture, start, size = read_image(options.image, options.background), time.monotonic(), config.architecture.size
    window = _window(options, picture, size)
    editor = Editor(generator, size, device)
    made = editor.edit(picture, window, wanted) if strip is None else editor.strip(picture, window, strip, wanted)
    write_picture(options.output, made)
    asked = {name: round(float(value), 4) for name, value in zip(INTENSITIES, wanted, strict=True)}
    if strip is not None:
        del asked[strip.au]
    return Done(str(options.output), made.shape[1], made.shape[0], window, asked, round(time.monotonic() - start, 3))


def _wanted(options: argparse.Namespace, strip: Strip | None) -> Intensities:
    """The intensities to aim for: as they are, or 0, and as was asked."""
    wanted = np.zeros(len(INTENSITIES), np.float32) if options.current is None else read_current(options.current)
    named = [] if strip is None else [strip.au]
    for text in options.au:
        name, is_given, value = text.partition("=")
        if not is_given:
            raise ConfigError(f"--au {text} must be as AU12=1.0")
        named.append(au_name(name))
        wanted = with_value(wanted, named[-1], intensity(value))
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise ConfigError(f"{', '.join(twice)} is asked for twice")
    return wanted


def _strip(text: str) -> Strip:
    """`AU12`, or `AU12=0:1:7` for first, last and number of values."""
    name, is_given, values = text.partition("=")
    if not is_given:
        return Strip(au_name(name), tuple(np.linspace(0, 1, _SHADES).tolist()))
    parts = values.split(":")
    count = int(parts[2]) if len(parts) == 3 and parts[2].isdecimal() else 0
    if not 2 <= count <= _MOST_SHADES:
        raise ConfigError(f"--strip {text} must be as AU12=0:1:7: first and last intensity, and 2 to {_MOST_SHADES} steps")
    return Strip(au_name(name), tuple(np.linspace(intensity(parts[0]), intensity(parts[1]), count).tolist()))


def _window(options: argparse.Namespace, picture: Picture, size: int) -> Window:
    """Where the face is that is to change."""
    if options.crop == "none":
        return 0, 0, picture.shape[1], picture.shape[0]
    model = models.load("dlib")
    assert model is not None
    face = find_face(picture, model, size)
    if face is None:
        raise ConfigError(f"no face is found in {options.image}; --crop none takes the whole picture for one")
    return face.window


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="motionshards edit", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", required=True, type=Path, help="of jobs.train or the authors' code")
    parser.add_argument("--config", help=f"of a checkpoint that does not tell it: {', '.join(CONFIGS)}, or a YAML file")
    parser.add_argument("--image", required=True, type=Path, help="a picture with a face")
    parser.add_argument(
        "--background",
        default=BACKGROUND,
        metavar="COLOUR",
        help="behind transparency: name or #rrggbb (default: %(default)s)",
    )
    parser.add_argument(
        "--au",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"an action unit, and 0 to 1, which is OpenFace's 0 to 5 divided by 5; repeatable: {', '.join(INTENSITIES)}",
    )
    parser.add_argument(
        "--current",
        type=Path,
        metavar="CSV",
        help="what OpenFace found in the picture: other action units stay so; else they are 0",
    )
    parser.add_argument(
        "--strip",
        metavar="NAME[=FIRST:LAST:STEPS]",
        help=f"write the face at several intensities of one action unit, and their attention (default: 0:1:{_SHADES})",
    )
    parser.add_argument("--output", required=True, type=Path, help=f"a picture: {', '.join(_SUFFIXES)}")
    parser.add_argument(
        "--crop", choices=("face", "none"), default="face", help="find the face, or take the whole picture for one"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", action="store_true", help="what was done as JSON")
    return parser
