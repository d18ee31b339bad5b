"""Drive a person that was fine-tuned by jobs.finetune with the face in a video.

    python -m jobs.drive --checkpoint person.pt --driving video.mp4 --output out.mp4 --adapt

Only landmarks are taken from the video. They also carry the facial proportions of the driver: --adapt moves and scales them to
the person's face. The video may be of any length; its frame rate and sound are kept. Exit status: 0 written, 1 failed,
2 invalid arguments or input, 130 interrupted. The output is written atomically.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from tqdm import tqdm

from motionshards.dataset.commandline import OutputOptions, choice, command
from motionshards.jobs.options import BatchOption, check_output
from motionshards.trainers.parallel import choose_device
from motionshards.trainers.talking_heads.adapt import Adaptation
from motionshards.trainers.talking_heads.episodes import draw
from motionshards.trainers.talking_heads.person import Person, load_person
from motionshards.trainers.talking_heads.portraits import CROPS, LANDMARKS, Points, Poses, face_model
from motionshards.trainers.video import Driving, Rgb, write


@dataclass(frozen=True, slots=True)
class Done:
    """What was written.

    frames, rate_hz, size_px: of the output
    without_face: frames of the driving video that kept the landmarks of the frame before
    seconds: of finding landmarks, generating and encoding
    """

    output: str
    frames: int
    rate_hz: float
    size_px: int
    audio: tuple[str, ...]
    without_face: int
    seconds: float

    def __str__(self) -> str:
        sound = f"with sound ({', '.join(self.audio)})" if self.audio else "without sound"
        lost = f", {self.without_face} frames without a face" if self.without_face else ""
        speed = f"{self.frames / max(self.seconds, 1e-3):.3g} frames/s"
        return f"{self.output}: {self.frames} frames of {self.size_px} px at {self.rate_hz:g} Hz, {sound}{lost}; {speed}"


@dataclass(frozen=True, kw_only=True)
class DriveOptions(OutputOptions, BatchOption):
    """Options of `motionshards drive`."""

    checkpoint: Path
    """A person, as written by `motionshards finetune`."""
    driving: Path
    """The video of a face that drives the person."""
    output: Path
    """The MP4 to write."""
    adapt: bool = False
    """Move and scale the landmarks to the person's face."""
    crop: Annotated[str, choice(CROPS)] = "face"
    """face crops the face as in VoxCeleb; none is for videos that are already cropped."""
    landmarks: Annotated[str, choice(LANDMARKS)] = "dlib"
    """The landmark model; use that of the training data."""
    no_audio: bool = False
    """Drop the sound."""


@command("drive")
def main(options: DriveOptions) -> None:
    """Drive a fine-tuned person with the face in a video."""
    check_output(options.output, (options.checkpoint, options.driving), (".mp4",))
    options.print_result(_drive(options))


def _drive(options: DriveOptions) -> Done:
    device = choose_device(options.device)
    known = load_person(options.checkpoint)
    size = known.config.architecture.size
    driving, start = Driving.at(options.driving), time.monotonic()
    poses = Poses(driving, face_model(options.landmarks), size, options.crop)
    adapt = Adaptation.between(poses.probes_px, known.landmarks_px.numpy()) if options.adapt else None
    shown = driving.shown(driving.rate)
    with options.bar("frame", int((shown > 0).sum())) as bar:
        points = _placed(poses.landmarks(shown > 0), adapt, bar)
        painted = paint(known.person.to(device), points, size, options.batch_size(device))
        repeated = chain.from_iterable(map(repeat, painted, shown[shown > 0].tolist()))
        count = write(options.output, repeated, size, driving.rate, None if options.no_audio else driving)
    audio = () if options.no_audio else driving.audio
    seconds = round(time.monotonic() - start, 3)
    return Done(str(options.output), count, float(driving.rate), size, audio, poses.without_face, seconds)


@torch.inference_mode()
def paint(person: Person, landmarks_px: Iterable[Points], size_px: int, batch: int) -> Iterator[Rgb]:
    """Yield the person in each pose, uint8 [size,size,3], generated in batches of `batch` images."""
    device, landmarks_px = person.style.device, iter(landmarks_px)
    while part := [*islice(landmarks_px, batch)]:
        painted = person(draw(torch.from_numpy(np.stack(part)).to(device), size_px))
        yield from (255 * painted).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def _placed(points_px: Iterable[Points], adapt: Adaptation | None, bar: "tqdm[object]") -> Iterator[Points]:
    for points in points_px:
        yield points if adapt is None else adapt(points)
        bar.update()
