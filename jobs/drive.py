"""Let a person of jobs.finetune move as the face in a video does.

    python -m jobs.drive --checkpoint person.pt --driving video.mp4 --output out.mp4 --adapt

Only landmarks are taken from the video. They tell its owner's features, too: --adapt moves and scales them onto the person's
face. The video may be of any length; its rate and sound are kept. Exit status: 0 written, 1 a fault, 2 unusable arguments or
input, 130 interrupted; nothing is written by halves.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.talking_heads.adapt import Adaptation
from motionshards.trainers.talking_heads.episodes import draw
from motionshards.trainers.talking_heads.person import Person, load_person
from motionshards.trainers.talking_heads.portraits import CROPS, LANDMARKS, Points, Poses, face_model
from motionshards.trainers.video import Driving, Picture, write

OK, FAILED = 0, 1
_BATCH = {"cpu": 1, "cuda": 16}


@dataclass(frozen=True, slots=True)
class Done:
    """What was written.

    frames, rate_hz, size_px: of the output
    without_face: frames of the driving video that kept the landmarks of the one before
    seconds: of finding landmarks, painting and encoding
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        done = _drive(options)
    except ConfigError as error:
        return end(UNUSABLE, f"error: {error}")
    except OSError as error:
        return end(FAILED, f"error: {error.strerror or error}: {error.filename or options.output}")
    except KeyboardInterrupt:
        return end(INTERRUPTED, "interrupted")
    show(json.dumps(asdict(done)) if options.json else done)
    return OK


def _check(options: argparse.Namespace) -> None:
    """Raise ConfigError for arguments that cannot be."""
    if options.output.suffix.lower() != ".mp4" or options.output.is_dir():
        raise ConfigError(f"--output {options.output} must be a file called *.mp4")
    if options.driving.exists() and options.output.exists() and options.output.samefile(options.driving):
        raise ConfigError(f"--output {options.output} is the --driving")
    if options.batch is not None and options.batch < 1:
        raise ConfigError("--batch is at least 1")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: CUDA is not available here")


def _drive(options: argparse.Namespace) -> Done:
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    known = load_person(options.checkpoint)
    size = known.config.architecture.size
    driving, start = Driving.at(options.driving), time.monotonic()
    poses = Poses(driving, face_model(options.landmarks), size, options.crop)
    adapt = Adaptation.between(poses.probes_px, known.landmarks_px.numpy()) if options.adapt else None
    shown = driving.shown(driving.rate)
    with tqdm(total=int((shown > 0).sum()), unit="frame", disable=_hidden(options), file=sys.stderr) as bar:
        points = _placed(poses.landmarks(shown > 0), adapt, bar)
        painted = paint(known.person.to(device), points, size, options.batch or _BATCH[device])
        repeated = chain.from_iterable(map(repeat, painted, shown[shown > 0].tolist()))
        count = write(options.output, repeated, size, driving.rate, None if options.no_audio else driving)
    audio = () if options.no_audio else driving.audio
    seconds = round(time.monotonic() - start, 3)
    return Done(str(options.output), count, float(driving.rate), size, audio, poses.without_face, seconds)


@torch.inference_mode()
def paint(person: Person, landmarks_px: Iterable[Points], size_px: int, batch: int) -> Iterator[Picture]:
    """The person in each pose, uint8 [size,size,3]; `batch` of them go through the generator together, and no more are held."""
    device, landmarks_px = person.style.device, iter(landmarks_px)
    while part := [*islice(landmarks_px, batch)]:
        painted = person(draw(torch.from_numpy(np.stack(part)).to(device), size_px))
        yield from (255 * painted).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def _placed(points_px: Iterable[Points], adapt: Adaptation | None, bar: "tqdm[object]") -> Iterator[Points]:
    for points in points_px:
        yield points if adapt is None else adapt(points)
        bar.update()


def _hidden(options: argparse.Namespace) -> bool:
    return options.quiet or not sys.stderr.isatty()


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="motionshards drive", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", required=True, type=Path, help="a person of jobs.finetune")
    parser.add_argument("--driving", required=True, type=Path, help="a video of a face")
    parser.add_argument("--output", required=True, type=Path, help="an MP4")
    parser.add_argument("--adapt", action="store_true", help="lay the landmarks onto the person's face")
    parser.add_argument("--crop", choices=CROPS, default="face", help="face: as in VoxCeleb; none: the video is so already")
    parser.add_argument("--landmarks", choices=LANDMARKS, default="dlib", help="as in the data that was trained on")
    parser.add_argument("--no-audio", action="store_true", help="leave the sound out")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--batch", type=int, help=f"frames at a time (default: {_BATCH['cpu']}, on a GPU {_BATCH['cuda']})")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--json", action="store_true", help="the last line as JSON")
    return parser
