"""Rotate the head in an image, and open and close its eyes and mouth, by trained face rotator networks.

    python -m jobs.rotate --checkpoint RUN/last.pt --image face.png --pose yaw=10,pitch=-5 --output out.png

Angles are relative to the pose in the image. --sheet writes a grid of poses instead of one. The output has the networks' size,
and is transparent where the image is. Exit status: 0 written, 1 failed, 2 invalid arguments or input, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from cyclopts import Parameter
from numpy.typing import NDArray
from PIL import Image

from motionshards.dataset.commandline import DeviceOption, OutputOptions, command, read_by
from motionshards.jobs.options import check_output
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.face_rotator.pose import DEFAULT_EXPRESSION, MAX_DEG, expression
from motionshards.trainers.face_rotator.puppet import Pose, Puppet
from motionshards.trainers.face_rotator.restore import Restored, restore
from motionshards.trainers.faces import face_window, find_landmarks, to_window
from motionshards.trainers.images import read_image, read_rgba
from motionshards.trainers.parallel import choose_device
from motionshards.trainers.video import Rgb, cut_window, write_image
from motionshards.transforms.extract.landmarks import models

_SHEET_DEG = tuple(np.linspace(-MAX_DEG, MAX_DEG, 5).tolist())
_ANGLES = ("yaw", "pitch", "roll")
_UNCHANGED = Pose()
_POSE_HELP = f"Degrees of up to {MAX_DEG:g}, such as yaw=10,pitch=-5,roll=0."


@dataclass(frozen=True, slots=True)
class Subject:
    """What the networks see.

    image: uint8 [size,size,3 or 4]
    landmarks_px: float32 [68,2] in its pixels; None where no face was searched for
    """

    image: Rgb
    landmarks_px: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Done:
    """What was written.

    width_px, height_px: of the output
    transparent: whether the output has an alpha channel
    seconds: of finding the face, rotating and writing
    """

    output: str
    width_px: int
    height_px: int
    transparent: bool
    seconds: float

    def __str__(self) -> str:
        return f"{self.output}: {self.width_px} x {self.height_px} px{', with transparency' if self.transparent else ''}"


def _pose(text: str) -> Pose:
    try:
        angles = dict(part.split("=") for part in text.split(","))
        numbers = {name: float(value) for name, value in angles.items()}
    except ValueError:
        numbers = {"": 0.0}
    if not numbers.keys() <= {*_ANGLES}:
        raise ValueError(f"{text!r} must be degrees, such as yaw=10,pitch=-5,roll=0")
    return Pose(**numbers)


def _fraction(text: str) -> float:
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1.0
    if not 0 <= fraction <= 1:
        raise ValueError(f"{text!r} must be from 0 to 1")
    return fraction


def _eyes(text: str) -> tuple[float, float]:
    fractions = [_fraction(part) for part in text.split(",")]
    if len(fractions) != 2:
        raise ValueError(f"{text!r} must be two numbers from 0 to 1, such as 0,1")
    return fractions[0], fractions[1]


@dataclass(frozen=True, kw_only=True)
class RotateOptions(OutputOptions, DeviceOption):
    """Options of `motionshards rotate`."""

    checkpoint: Annotated[tuple[Path, ...], Parameter(consume_multiple=1)]
    """Checkpoints of `motionshards train --model face_rotator`, or published files; the last file with a network is used."""
    image: Path
    """An image of one head that faces the viewer."""
    background: str | None = None
    """Color behind transparent pixels: a name or #rrggbb; by default transparency is kept."""
    pose: Annotated[
        Pose,
        read_by(_pose, "DEGREES", help=_POSE_HELP, show_default=False),
    ] = _UNCHANGED
    eyes: Annotated[tuple[float, float] | None, read_by(_eyes, "L,R")] = None
    """The person's left and right eye, from 0 (open) to 1 (closed), such as 0,1."""
    mouth: Annotated[float | None, read_by(_fraction, "M")] = None
    """From 0 (closed) to 1 (open)."""
    crop: Literal["face", "none"] | None = None
    """face crops the face as datasets do (the default for images without transparency); none uses the whole image."""
    sheet: bool = False
    """Write a grid of yaws and pitches instead of one pose."""
    output: Path
    """The PNG to write."""

    def __post_init__(self) -> None:
        """Raise ConfigError for options that contradict each other."""
        if self.sheet and (self.pose.yaw or self.pose.pitch):
            raise ConfigError("--sheet has its own yaws and pitches; pass only the roll to --pose")


@command("rotate")
def main(options: RotateOptions) -> None:
    """Rotate the head in an image, and open and close its eyes and mouth, by trained face rotator networks."""
    check_output(options.output, (options.image, *options.checkpoint), (".png",))
    options.print_result(_rotate(options))


def _rotate(options: RotateOptions) -> Done:
    device, restored, start = choose_device(options.device), _restored(options), time.monotonic()
    subject = _subject(options, restored.architecture.size)
    puppet = Puppet(restored, subject.image, _expression(options, subject), device)
    rotated = _sheet(puppet, options.pose.roll) if options.sheet else puppet.posed(options.pose)
    write_image(options.output, rotated)
    height, width, channels = rotated.shape
    return Done(str(options.output), width, height, channels == 4, round(time.monotonic() - start, 3))


def _restored(options: RotateOptions) -> Restored:
    """Load the networks that the options need. Raises ConfigError: one of them was not trained."""
    restored = restore(options.checkpoint)
    morphing = options.eyes is not None or options.mouth is not None
    for name in ("morpher", "rotator", "combiner") if morphing else ("rotator", "combiner"):
        if name not in restored.networks:
            why = " which --eyes and --mouth need" if name == "morpher" else ""
            files = ", ".join(map(str, options.checkpoint))
            raise ConfigError(f"{files}: no trained {name}{why}; train it with jobs.train --config {name}")
    return restored


def _subject(options: RotateOptions, size: int) -> Subject:
    """Scale the image, or the face in it, to the networks' size."""
    image = read_rgba(options.image) if options.background is None else read_image(options.image, options.background)
    if image.shape[2] == 4 and (image[..., 3] == 255).all():
        image = np.ascontiguousarray(image[..., :3])
    whole = (0, 0, image.shape[1], image.shape[0])
    if (options.crop or ("none" if image.shape[2] == 4 else "face")) == "none":
        return Subject(_scaled(image, whole, size), None)
    model = models.load("dlib")
    assert model is not None
    points = find_landmarks(np.ascontiguousarray(image[..., :3]), model)
    if points is None:
        raise ConfigError(f"no face was found in {options.image}; --crop none uses the whole image")
    window = face_window(points, (image.shape[1], image.shape[0]))
    return Subject(_scaled(image, window, size), to_window(points, window, size))


def _scaled(image: Rgb, window: tuple[int, int, int, int], size: int) -> Rgb:
    """Cut a window as datasets do; with transparency by Pillow, which weights colors by alpha."""
    if image.shape[2] == 3:
        return cut_window(image, window, size)
    return np.asarray(Image.fromarray(image).crop(window).resize((size, size), Image.Resampling.BICUBIC))


def _expression(options: RotateOptions, subject: Subject) -> tuple[float, float, float] | None:
    """Combine the requested eyes and mouth with those measured in the image."""
    if options.eyes is None and options.mouth is None:
        return None
    points = subject.landmarks_px
    left, right, mouth = DEFAULT_EXPRESSION if points is None else expression(torch.from_numpy(points)).tolist()
    eyes = (left, right) if options.eyes is None else options.eyes
    return (*eyes, mouth if options.mouth is None else options.mouth)


def _sheet(puppet: Puppet, roll: float) -> Rgb:
    """Arrange poses: pitch in rows, looking up at the top; yaw in columns, to the image's right at the right."""
    rows = [[puppet.posed(Pose(yaw=yaw, pitch=-pitch, roll=roll)) for yaw in _SHEET_DEG] for pitch in _SHEET_DEG]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])
