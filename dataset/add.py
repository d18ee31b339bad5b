"""`python -m dataset.build --output OUT --add … | --extend-frames N`: something more for a data set that is finished.

A part of the command line of `dataset.build`. What is not about the addition cannot be given: the data set has its own settings.
"""

import argparse
import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from motionshards.dataset.commandline import OneLineParser
from motionshards.pipeline.add import AddOrder, add, short_clips, without_aus
from motionshards.pipeline.build import Ledger
from motionshards.pipeline.clips.device import gpus
from motionshards.pipeline.inputs.input import open_input
from motionshards.pipeline.runners.choose import DASK, LOCAL, PORTABLE, Runner
from motionshards.pipeline.sources import SOURCES, usual_no_face
from motionshards.schemas.bucket import is_bucket
from motionshards.schemas.config import PRECISIONS, BuildConfig
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.manifest import Manifest
from motionshards.transforms.extract.action_units import options as au_options
from motionshards.transforms.extract.action_units.openface import START_S
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.options import DETECTORS

WHATS = ("landmarks", "aus", "quality")
_MEANT = ("--add", "--extend-frames")
Say = Callable[[str], Any]


def is_meant(arguments: Sequence[str]) -> bool:
    """Whether a command line of `dataset.build` asks for an addition."""
    return any(argument.partition("=")[0] in _MEANT for argument in arguments)


def offer(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup) -> None:
    """The two options that ask for an addition."""
    parser.add_argument("--add", choices=WHATS, help="for a finished data set, from its stored frames (--add quality --help)")
    parser.add_argument(
        "--extend-frames", type=int, metavar="N", help="for a finished data set: N frames a clip, decoding the new"
    )


def place(text: str) -> Path | str:
    """A path, or the URL of an object store as it is; for argparse."""
    return text if is_bucket(text) else Path(text.removeprefix("file://"))


def _directory(text: str) -> Path:
    if is_bucket(text):
        raise argparse.ArgumentTypeError(f"is {text}: what lies in an object store is not changed; add on a disk, and copy")
    return Path(text.removeprefix("file://"))


def offer_runner(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """The options that say where to run."""
    parser.add_argument("--runner", default=LOCAL, help=f"{LOCAL}, {DASK}, {PORTABLE}, or the name of a Beam runner")
    parser.add_argument("--workers", type=int, help="processes of this machine (default: cores, or GPUs with FAN)")
    parser.add_argument(
        "--dask-scheduler", metavar="ADDR|FILE", help=f"--runner {DASK}: the cluster (default: --workers processes here)"
    )
    parser.add_argument("--job-endpoint", metavar="HOST:PORT", help=f"--runner {PORTABLE}: the job server of Flink, Spark, ...")


def runner(options: argparse.Namespace, beam_options: list[str], landmarks: str) -> Runner:
    """What they say. Raises ConfigError."""
    return Runner(
        name=options.runner,
        workers=options.workers or gpus(landmarks) or len(os.sched_getaffinity(0)),
        scheduler=options.dask_scheduler,
        endpoint=options.job_endpoint,
        options=beam_options,
    )


def parser(whole: argparse.ArgumentParser) -> OneLineParser:
    """The options that go with an addition. whole: the parser of `dataset.build`"""
    defaults = {field.name: field.default for field in dataclasses.fields(BuildConfig)}
    part = OneLineParser(prog="motionshards build", description="Add to a finished data set.", allow_abbrev=False)
    part.add_argument("--output", type=_directory, required=True, help="the data set")
    offer(part.add_mutually_exclusive_group(required=True))
    part.add_argument("--source", help="may be given, and must then be that of the data set")
    part.add_argument("--input", type=place, nargs="+", help="--extend-frames: where the videos are, as for a build")
    part.add_argument("--landmarks", choices=[name for name in models.CHOICES if name != "none"], default="auto")
    part.add_argument("--detector", choices=DETECTORS, default=defaults["detector"], help="FAN's face detector")
    part.add_argument("--precision", choices=PRECISIONS, default=defaults["precision"], help="FAN's arithmetic")
    part.add_argument("--aus", default="none", help=f"--add aus, or more frames with action units: {au_options.EXPECTED}")
    part.add_argument("--openface", metavar="CMD", help="command line of --aus openface")
    part.add_argument("--openface-timeout", type=float, default=START_S, help="seconds for one call of it, and 2 more a frame")
    part.add_argument("--weights", type=Path, help="directory with FAN's weight files; else torch hub's cache, else fetched")
    part.add_argument("--compile", action="store_true", help="compile FAN, for long runs")
    offer_runner(part)
    part.add_argument("--quiet", action="store_true", help="only the last line")
    part.add_argument("--json", action="store_true", help="the last line as JSON")
    names = {name for action in whole._actions for name in action.option_strings}
    part.set_defaults(foreign=names - {name for action in part._actions for name in action.option_strings})
    return part


def run(options: argparse.Namespace, beam_options: list[str], say: Say) -> str:
    """Add, and give the last line. Raises what `pipeline.add.add` raises."""
    manifest = Manifest.read(options.output)
    _check(options, manifest)
    changes = _changes(options, manifest.config, say)
    landmarks = changes.get("landmarks", manifest.config.landmarks if options.extend_frames else "none")
    source = SOURCES[manifest.config.source]
    order = AddOrder(
        out=options.output,
        what="frames" if options.extend_frames else options.add,
        config=changes,
        input=open_input(options.input, source.splits, takes_videos=source.takes_videos) if options.input else None,
        aus=au_options.resolve(options.aus, options.openface, options.openface_timeout),
        weights=options.weights,
        compile=options.compile,
        runner=runner(options, beam_options, landmarks),
        quiet=options.quiet,
    )
    ledger = add(order, datetime.now(UTC).isoformat(timespec="seconds"), say)
    return _as_json(ledger, order) if options.json else _as_line(ledger, order)


def _check(options: argparse.Namespace, manifest: Manifest) -> None:
    """Raise ConfigError for options that do not fit together."""
    for name in ("workers", "extend_frames", "openface_timeout"):
        value = getattr(options, name)
        if value is not None and not value >= 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}, must be at least 1")
    if options.source not in (None, manifest.config.source):
        raise ConfigError(f"--source is {options.source}, the data set is of {manifest.config.source}")
    if bool(options.input) != bool(options.extend_frames):
        raise ConfigError("--extend-frames needs --input" if options.extend_frames else f"--add {options.add} reads no --input")
    if options.add and (options.aus == "none") == (options.add == "aus"):
        raise ConfigError(
            f"--add {options.add} with --aus {options.aus}: action units are added by --add aus --aus openface|csv:DIR"
        )


def _changes(options: argparse.Namespace, config: BuildConfig, say: Say) -> dict[str, Any]:
    """The fields of the config that the addition changes."""
    if options.extend_frames:
        return {"frames": options.extend_frames, "min_frames": config.fewest_frames}
    if options.add == "aus":
        return {"aus": options.aus.partition(":")[0]}
    if options.add == "quality":
        return {}
    name, why = models.resolve(options.landmarks)
    say(f"landmarks: {name} ({why})")
    no_face = usual_no_face(config.source, name, config.recipe)  # as a later build of the same source has it
    return {"landmarks": name, "detector": options.detector, "precision": options.precision, "no_face": no_face}


def _as_line(ledger: Ledger, order: AddOrder) -> str:
    counts, seconds = ledger.manifest.counts, ledger.seconds
    done = (
        f"rewrote the shards of {ledger.clips_built} planned clips in {seconds:.0f} s" if ledger.clips_built else "nothing to do"
    )
    short = short_clips(order.out, ledger.manifest.config) if order.what == "frames" else 0
    lost = f"; {short} keep the frames they had, as their video could not be read again or is another" if short else ""
    if order.what == "aus" and (empty := without_aus(order.out)):
        lost = f"; {empty} of them have no frame with valid action units"
    what = f"frames, now {ledger.manifest.config.frames}," if order.what == "frames" else order.what
    return f"{what} added to {counts['kept'] - short} clips{lost}; {done}; {counts['bytes'] / 1e6:.1f} MB in {order.out}"


def _as_json(ledger: Ledger, order: AddOrder) -> str:
    short = short_clips(order.out, ledger.manifest.config) if order.what == "frames" else 0
    done = {"added": order.what, "clips_rewritten": ledger.clips_built, "short": short, "seconds": round(ledger.seconds, 3)}
    valid = {"without_aus": without_aus(order.out)} if order.what == "aus" else {}
    return json.dumps({**ledger.manifest.counts, **done, **valid, "output": str(order.out)})
