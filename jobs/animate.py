"""Let a picture move as a video does, with a trained first order motion model.

    python -m jobs.animate --checkpoint RUN/last.pt --source face.png --driving video.mp4 --output out.mp4

--relative (the default) adds the video's movement to the source's pose, so the two may be of different people, but should begin
in a similar pose: --best-frame finds where they do. --absolute takes poses as they are. The driving video may be of any length;
its rate and sound are kept. Exit status: 0 written, 1 a fault, 2 unusable arguments or input, 130 interrupted; nothing is written
by halves.
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
from fractions import Fraction
from itertools import compress
from pathlib import Path

import torch
from tqdm import tqdm

from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.fomm.animate import Animator, Movement, Networks
from motionshards.trainers.fomm.best_frame import Best, find_best_frame
from motionshards.trainers.fomm.config import CONFIGS
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.onnx_networks import OnnxNetworks
from motionshards.trainers.fomm.restore import restore
from motionshards.trainers.images import BACKGROUND, read_image, read_square
from motionshards.trainers.video import Driving, Picture, cut_window, write
from motionshards.transforms.extract.landmarks import models

OK, FAILED = 0, 1
_BATCH = {"cpu": 1, "cuda": 16}
_KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Done:
    """What was written.

    frames, rate_hz, size_px: of the output
    first: number of the driving frame that relative movement was counted from
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
        begun = f", counted from frame {self.first}" if self.first else ""
        speed = f"{self.frames / self.seconds:.3g} frames/s"
        return f"{self.output}: {self.frames} frames of {self.size_px} px at {self.rate_hz:g} Hz, {sound}{begun}; {speed}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        done = _animate(options)
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
    if options.absolute and (options.adapt_scale or options.best_frame):
        raise ConfigError("--adapt-scale and --best-frame say how relative movement is taken; --absolute takes none")
    if options.output.suffix.lower() != ".mp4" or options.output.is_dir():
        raise ConfigError(f"--output {options.output} must be a file called *.mp4")
    for name in ("checkpoint", "source", "driving"):
        if (given := getattr(options, name)).exists() and options.output.exists() and options.output.samefile(given):
            raise ConfigError(f"--output {options.output} is the --{name}")
    if options.batch is not None and options.batch < 1:
        raise ConfigError("--batch is at least 1")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: CUDA is not available here")


def _animate(options: argparse.Namespace) -> Done:
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    size, networks = _networks(options, device)
    source, driving = read_square(options.source, size, options.background), Driving.at(options.driving)
    if len(driving) == 1:
        print("the driving video has one frame, and so will the result", file=sys.stderr)
    rate = driving.rate if options.fps == _KEEP else options.fps
    best = _best(options, driving) if options.best_frame else None
    animator = Animator(networks, source, Movement(relative=not options.absolute, adapt_scale=options.adapt_scale), device)
    shown, start = driving.shown(rate), time.monotonic()
    first = cut_window(best.picture, (0, 0, best.picture.shape[1], best.picture.shape[0]), size) if best else None
    with tqdm(total=int((shown > 0).sum()), unit="frame", disable=_hidden(options), file=sys.stderr) as bar:
        # Frames that a lower rate leaves out are not animated.
        wanted = compress(driving.frames(size), shown > 0)
        made = animator.animate(_seen(wanted, bar), first=first, batch=options.batch or _BATCH[device])
        sound = None if options.no_audio else driving
        count = write(options.output, _repeated(made, shown[shown > 0].tolist()), size, rate, sound)
    audio = () if options.no_audio else driving.audio
    seconds = round(time.monotonic() - start, 3)
    return Done(str(options.output), count, float(rate), size, audio, best.frame if best else 0, seconds)


def _networks(options: argparse.Namespace, device: str) -> tuple[int, Networks]:
    """Side of the pictures, and the networks of a checkpoint or of an export."""
    networks: Networks
    if options.backend == "onnx":
        networks = exported = OnnxNetworks(options.checkpoint, device)
        size, channels = exported.backend.size, exported.backend.channels
    else:
        config, detector, generator = restore(options.checkpoint, options.config)
        size, channels = config.architecture.size, config.architecture.channels
        networks = FoldedNetworks(detector, generator, device)
    if channels != 3:
        raise ConfigError(f"{options.checkpoint} is of pictures with {channels} channels; those of files have 3")
    return size, networks


def _best(options: argparse.Namespace, driving: Driving) -> Best:
    """Looked for in whole images: in the networks' square a face may be too small to be found."""
    model = models.load("dlib")
    assert model is not None
    with tqdm(total=len(driving), unit="frame", desc="best frame", disable=_hidden(options), file=sys.stderr) as bar:
        return find_best_frame(read_image(options.source, options.background), _seen(driving.whole_frames(), bar), model)


def _seen(frames: Iterable[Picture], bar: "tqdm[object]") -> Iterator[Picture]:
    for frame in frames:
        yield frame
        bar.update()


def _repeated(frames: Iterable[Picture], times: list[int]) -> Iterator[Picture]:
    for frame, count in zip(frames, times, strict=True):
        for _ in range(count):
            yield frame


def _hidden(options: argparse.Namespace) -> bool:
    return options.quiet or not sys.stderr.isatty()


def _rate(text: str) -> str | Fraction:
    try:
        rate = Fraction(text) if text != _KEEP else Fraction(1)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be {_KEEP} or frames a second, as 25 or 30000/1001")
    return _KEEP if text == _KEEP else rate


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="motionshards animate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", required=True, type=Path, help="of jobs.train or the authors' code")
    parser.add_argument(
        "--backend", choices=("torch", "onnx"), default="torch", help="onnx: --checkpoint is a directory of jobs.export"
    )
    parser.add_argument("--config", help=f"of a checkpoint that does not tell it: {', '.join(CONFIGS)}, or a YAML file")
    parser.add_argument("--source", required=True, type=Path, help="a picture; it is scaled to the networks' square")
    parser.add_argument(
        "--background",
        default=BACKGROUND,
        metavar="COLOUR",
        help="behind transparency: name or #rrggbb (default: %(default)s)",
    )
    parser.add_argument("--driving", required=True, type=Path, help="a video; so are its frames")
    parser.add_argument("--output", required=True, type=Path, help="an MP4")
    movement = parser.add_mutually_exclusive_group()
    movement.add_argument("--relative", action="store_true", help="add the video's movement to the source's pose (default)")
    movement.add_argument("--absolute", action="store_true", help="take the video's poses as they are")
    parser.add_argument("--adapt-scale", action="store_true", help="scale movement by the sizes of the faces")
    parser.add_argument(
        "--best-frame", action="store_true", help="count movement from the frame whose face is most like the source's"
    )
    parser.add_argument(
        "--fps", type=_rate, default=_KEEP, help="of the output: keep, or a number; frames are repeated or left out"
    )
    parser.add_argument("--no-audio", action="store_true", help="leave the sound out")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--batch", type=int, help=f"frames at a time (default: {_BATCH['cpu']}, on a GPU {_BATCH['cuda']})")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--json", action="store_true", help="the last line as JSON")
    return parser
