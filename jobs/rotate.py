"""Turn the head of a picture, and open and close its eyes and mouth, with trained face rotator networks.

    python -m jobs.rotate --checkpoint RUN/last.pt --image face.png --pose yaw=10,pitch=-5 --output out.png

The angles are counted from how the head is. --sheet writes a grid of poses instead of one. The output has the networks' size, and
the picture's transparency where it has some. Exit status: 0 written, 1 a fault, 2 unusable arguments or input, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.face_rotator.pose import DEFAULT_EXPRESSION, MOST_DEG, expression
from motionshards.trainers.face_rotator.puppet import Pose, Puppet
from motionshards.trainers.face_rotator.restore import Restored, restore
from motionshards.trainers.faces import face_window, find_landmarks, to_window
from motionshards.trainers.images import read_image, read_rgba
from motionshards.trainers.video import Picture, cut_window, write_picture
from motionshards.transforms.extract.landmarks import models

OK, FAILED = 0, 1
_SHEET_DEG = tuple(np.linspace(-MOST_DEG, MOST_DEG, 5).tolist())
_ANGLES = ("yaw", "pitch", "roll")


@dataclass(frozen=True, slots=True)
class Subject:
    """What the networks get to see.

    picture: uint8 [size,size,3 or 4]
    landmarks_px: float32 [68,2] in its pixels; None where no face was looked for
    """

    picture: Picture
    landmarks_px: NDArray[np.float32] | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        made = _rotate(options)
    except ConfigError as error:
        return end(UNUSABLE, f"error: {error}")
    except OSError as error:
        return end(FAILED, f"error: {error.strerror or error}: {error.filename or options.output}")
    except KeyboardInterrupt:
        return end(INTERRUPTED, "interrupted")
    height, width, channels = made.shape
    show(f"{options.output}: {width} x {height} px{', with transparency' if channels == 4 else ''}")
    return OK


def _check(options: argparse.Namespace) -> None:
    """Raise ConfigError for arguments that contradict each other."""
    if options.output.suffix.lower() != ".png" or options.output.is_dir():
        raise ConfigError(f"--output {options.output} must be a file called *.png")
    for given in (options.image, *options.checkpoint):
        if given.exists() and options.output.exists() and options.output.samefile(given):
            raise ConfigError(f"--output {options.output} is an input")
    if options.sheet and (options.pose.yaw or options.pose.pitch):
        raise ConfigError("--sheet has yaws and pitches of its own; of --pose it takes roll")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: CUDA is not available here")


def _rotate(options: argparse.Namespace) -> Picture:
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    restored = _restored(options)
    subject = _subject(options, restored.architecture.size)
    puppet = Puppet(restored, subject.picture, _expression(options, subject), device)
    made = _sheet(puppet, options.pose.roll) if options.sheet else puppet.posed(options.pose)
    write_picture(options.output, made)
    return made


def _restored(options: argparse.Namespace) -> Restored:
    """The networks that the options ask for. Raises ConfigError: one of them was not trained."""
    restored = restore(options.checkpoint)
    morphing = options.eyes is not None or options.mouth is not None
    for name in ("morpher", "rotator", "combiner") if morphing else ("rotator", "combiner"):
        if name not in restored.networks:
            why = " which --eyes and --mouth need" if name == "morpher" else ""
            files = ", ".join(map(str, options.checkpoint))
            raise ConfigError(f"{files}: there is no trained {name}{why}; jobs.train --config {name} trains it")
    return restored


def _subject(options: argparse.Namespace, size: int) -> Subject:
    """The picture at the networks' size: its face where that is asked for, else the whole."""
    picture = read_rgba(options.image) if options.background is None else read_image(options.image, options.background)
    if picture.shape[2] == 4 and (picture[..., 3] == 255).all():
        picture = np.ascontiguousarray(picture[..., :3])
    whole = (0, 0, picture.shape[1], picture.shape[0])
    if (options.crop or ("none" if picture.shape[2] == 4 else "face")) == "none":
        return Subject(_scaled(picture, whole, size), None)
    model = models.load("dlib")
    assert model is not None
    points = find_landmarks(np.ascontiguousarray(picture[..., :3]), model)
    if points is None:
        raise ConfigError(f"no face is found in {options.image}; --crop none takes the whole picture")
    window = face_window(points, (picture.shape[1], picture.shape[0]))
    return Subject(_scaled(picture, window, size), to_window(points, window, size))


def _scaled(picture: Picture, window: tuple[int, int, int, int], size: int) -> Picture:
    """A window of a picture, as data sets cut it; Pillow weighs colours by alpha where there is some."""
    if picture.shape[2] == 3:
        return cut_window(picture, window, size)
    return np.asarray(Image.fromarray(picture).crop(window).resize((size, size), Image.Resampling.BICUBIC))


def _expression(options: argparse.Namespace, subject: Subject) -> tuple[float, float, float] | None:
    """Eyes and mouth as asked for; what is not told stays as it is in the picture, if that was measured."""
    if options.eyes is None and options.mouth is None:
        return None
    points = subject.landmarks_px
    left, right, mouth = DEFAULT_EXPRESSION if points is None else expression(torch.from_numpy(points)).tolist()
    eyes = (left, right) if options.eyes is None else options.eyes
    return (*eyes, mouth if options.mouth is None else options.mouth)


def _sheet(puppet: Puppet, roll: float) -> Picture:
    """Rows of pitch, looking up at the top; columns of yaw, to the picture's right at the right."""
    rows = [[puppet.posed(Pose(yaw=yaw, pitch=-pitch, roll=roll)) for yaw in _SHEET_DEG] for pitch in _SHEET_DEG]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _pose(text: str) -> Pose:
    try:
        angles = dict(part.split("=") for part in text.split(","))
        numbers = {name: float(value) for name, value in angles.items()}
    except ValueError:
        numbers = {"": 0.0}
    if not numbers.keys() <= {*_ANGLES}:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be degrees, as yaw=10,pitch=-5,roll=0")
    try:
        return Pose(**numbers)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be from 0 to 1")
    return share


def _eyes(text: str) -> tuple[float, float]:
    shares = [_share(part) for part in text.split(",")]
    if len(shares) != 2:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be two numbers from 0 to 1, as 0,1")
    return shares[0], shares[1]


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="motionshards rotate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--checkpoint", required=True, type=Path, nargs="+", help="of jobs.train, or published files; of several, the last counts"
    )
    parser.add_argument("--image", required=True, type=Path, help="a picture of one head that faces the viewer")
    parser.add_argument(
        "--background", metavar="COLOUR", help="behind transparent pixels: a name or #rrggbb (default: the transparency is kept)"
    )
    parser.add_argument("--pose", type=_pose, default=Pose(), help=f"degrees up to {MOST_DEG:g}, as yaw=10,pitch=-5,roll=0")
    parser.add_argument("--eyes", type=_eyes, metavar="L,R", help="the person's left and right eye, 0 open to 1 closed")
    parser.add_argument("--mouth", type=_share, metavar="M", help="0 closed to 1 open")
    parser.add_argument(
        "--crop", choices=("face", "none"), help="face frames the face as data sets do (default without transparency)"
    )
    parser.add_argument("--sheet", action="store_true", help="a grid of yaws and pitches instead of one pose")
    parser.add_argument("--output", required=True, type=Path, help="a PNG")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser
