"""Animate an image with a driving video, by a trained First Order Motion Model.

    python -m jobs.animate --checkpoint RUN/last.pt --image face.png --driving video.mp4 --output out.mp4

--relative (the default) adds the video's motion to the pose of the image. The two may show different people, but should start in
a similar pose: --best-frame finds where they do. --absolute copies the video's poses. The driving video may be of any length;
its frame rate and sound are kept. Exit status: 0 written, 1 failed, 2 invalid arguments or input, 130 interrupted. The output
is written atomically.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import compress, tee
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from cyclopts import Group, Parameter, validators
from tqdm import tqdm

from motionshards.dataset.commandline import OutputOptions, command, read_by
from motionshards.jobs.options import BACKGROUND_HELP, AlignCornersOption, BatchOption, check_output, named_in
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.fomm.animate import Animator, Movement, Networks
from motionshards.trainers.fomm.best_frame import BestFrame, find_best_frame
from motionshards.trainers.fomm.config import CONFIGS
from motionshards.trainers.fomm.exported.model import format_of
from motionshards.trainers.fomm.exported.networks import ExportedNetworks
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.restore import restore
from motionshards.trainers.images import BACKGROUND, read_image, read_square
from motionshards.trainers.parallel import choose_device
from motionshards.trainers.video import Driving, Rgb, cut_window, write
from motionshards.transforms.extract.landmarks import models

_MOTION = Group("Motion", sort_key=1, validator=validators.LimitedChoice())


@dataclass(frozen=True, slots=True)
class Done:
    """What was written.

    frames, rate_hz: of the output
    size_px: side of the result, also where it is one of three images side by side
    first: number of the driving frame from which relative motion is measured
    seconds: of animating and encoding
    """

    output: str
    frames: int
    rate_hz: float
    size_px: int
    audio: tuple[str, ...]
    first: int
    seconds: float

    def __str__(self) -> str:
        sound = f"with sound ({', '.join(self.audio)})" if self.audio else "without sound"
        offset = f", measured from frame {self.first}" if self.first else ""
        speed = f"{self.frames / self.seconds:.3g} frames/s"
        return f"{self.output}: {self.frames} frames of {self.size_px} px at {self.rate_hz:g} Hz, {sound}{offset}; {speed}"


def _rate(text: str) -> Fraction | None:
    if text == "keep":
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise ValueError(f"{text!r} must be keep or frames per second, such as 25 or 30000/1001")
    return rate


@dataclass(frozen=True, kw_only=True)
class AnimateOptions(OutputOptions, BatchOption, AlignCornersOption):
    """Options of `motionshards animate`."""

    checkpoint: Path
    """Checkpoint of `motionshards train` or of the original repository, or a directory of `motionshards export-model`."""
    backend: Literal["torch", "onnx", "litert"] | None = None
    """What runs the networks; by default torch for a checkpoint, and the format of an export for its directory."""
    config: Annotated[str | None, named_in(CONFIGS)] = None
    image: Path
    """The image to animate; it is scaled to the square of the networks."""
    background: Annotated[str, BACKGROUND_HELP] = BACKGROUND
    driving: Path
    """The video whose motion is transferred; its frames are scaled in the same way."""
    output: Path
    """The MP4 to write."""
    relative: Annotated[bool, Parameter(group=_MOTION)] = False
    """Add the video's motion to the pose of the image (default)."""
    absolute: Annotated[bool, Parameter(group=_MOTION)] = False
    """Copy the video's poses."""
    adapt_scale: bool = False
    """Scale relative motion by the sizes of the faces."""
    best_frame: bool = False
    """Measure relative motion from the frame whose face is most similar to that of the image."""
    fps: Annotated[Fraction | None, read_by(_rate, "keep|RATE")] = None
    """Frames per second of the output, for which frames are repeated or dropped; by default those of the driving video (keep)."""
    side_by_side: bool = False
    """Show image, driving frame and result side by side."""
    no_audio: bool = False
    """Drop the sound."""

    def __post_init__(self) -> None:
        """Raise ConfigError for options that contradict each other."""
        if self.absolute and (self.adapt_scale or self.best_frame):
            raise ConfigError("--adapt-scale and --best-frame apply to relative motion, not to --absolute")
        if self.align_corners is not None and (backend := self.chosen_backend()) != "torch":
            raise ConfigError(
                f"--align-corners is part of exported graphs: give it to export-model, not with --backend {backend}"
            )

    def chosen_backend(self) -> str:
        """Return --backend, or the one that --checkpoint needs. Raises ConfigError: it is an export that no backend reads."""
        return self.backend or format_of(self.checkpoint) or "torch"


@command("animate", renamed={"--source": "--image"})
def main(options: AnimateOptions) -> None:
    """Animate an image with a driving video, by a trained First Order Motion Model."""
    check_output(options.output, (options.checkpoint, options.image, options.driving), (".mp4",))
    options.print_result(_animate(options))
    if options.chosen_backend() == "torch":
        options.suggest(f"motionshards export-model --checkpoint {options.checkpoint} --output exported")


def _animate(options: AnimateOptions) -> Done:
    device = choose_device(options.device)
    size, networks = _networks(options, device)
    source, driving = read_square(options.image, size, options.background), Driving.at(options.driving)
    if len(driving) == 1:
        print("the driving video has only one frame, so the output has one, too", file=sys.stderr)
    rate = options.fps or driving.rate
    best = _best(options, driving) if options.best_frame else None
    animator = Animator(networks, source, Movement(relative=not options.absolute, adapt_scale=options.adapt_scale), device)
    shown, start = driving.shown(rate), time.monotonic()
    first = cut_window(best.image, (0, 0, best.image.shape[1], best.image.shape[0]), size) if best else None
    with options.bar("frame", int((shown > 0).sum())) as bar:
        # Do not animate frames that a lower rate drops.
        requested = _seen(compress(driving.frames(size), shown > 0), bar)
        beside: Iterator[Rgb] | None = None
        if options.side_by_side:
            requested, beside = tee(requested)  # holds the frames of one batch
        animated = animator.animate(requested, first=first, batch=options.batch_size(device))
        if beside is not None:
            animated = (np.hstack((source, frame, result)) for result, frame in zip(animated, beside, strict=True))
        sound = None if options.no_audio else driving
        columns = 3 if options.side_by_side else 1
        count = write(options.output, _repeated(animated, shown[shown > 0].tolist()), size, rate, sound, columns=columns)
    audio = () if options.no_audio else driving.audio
    seconds = max(round(time.monotonic() - start, 3), 1e-3)  # speed is computed from it
    return Done(str(options.output), count, float(rate), size, audio, best.frame if best else 0, seconds)


def _networks(options: AnimateOptions, device: torch.device) -> tuple[int, Networks]:
    """Load the side of the images, pixels, and the networks of a checkpoint or of an export."""
    networks: Networks
    if (backend := options.chosen_backend()) != "torch":
        networks = exported = ExportedNetworks(options.checkpoint, backend, str(device))
        size, channels = exported.model.size, exported.model.channels
    else:
        config, detector, generator = restore(options.checkpoint, options.config, align_corners=options.aligned())
        size, channels = config.architecture.size, config.architecture.channels
        networks = FoldedNetworks(detector, generator, device)
    if channels != 3:
        raise ConfigError(f"{options.checkpoint} is for images with {channels} channels; image files have 3")
    return size, networks


def _best(options: AnimateOptions, driving: Driving) -> BestFrame:
    """Search whole images: in the networks' square a face may be too small to be found."""
    model = models.load("dlib")
    assert model is not None
    with options.bar("frame", len(driving), desc="best frame") as bar:
        return find_best_frame(read_image(options.image, options.background), _seen(driving.whole_frames(), bar), model)


def _seen(frames: Iterable[Rgb], bar: "tqdm[object]") -> Iterator[Rgb]:
    for frame in frames:
        yield frame
        bar.update()


def _repeated(frames: Iterable[Rgb], times: list[int]) -> Iterator[Rgb]:
    for frame, count in zip(frames, times, strict=True):
        for _ in range(count):
            yield frame
