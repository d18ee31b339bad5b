"""The options of `motionshards build`, and the places that it uses where none are given."""

import argparse
import dataclasses
import os
from pathlib import Path

from motionshards.dataset import add
from motionshards.dataset.commandline import OneLineParser
from motionshards.pipeline.sources import SOURCES
from motionshards.schemas.bucket import is_bucket
from motionshards.schemas.config import FITS, HDRS, NO_FACE, PRECISIONS, RECIPES, UNITS, BuildConfig
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import SPLITS
from motionshards.schemas.reasons import REASONS
from motionshards.transforms.extract.action_units import options as au_options
from motionshards.transforms.extract.action_units.openface import PROGRAM, START_S
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.options import DETECTORS

DATA = "MOTIONSHARDS_DATA"
# What was removed on request stays out.
_RETRY = [reason for reason in REASONS if reason != "removed"]
TUBES = {
    "detect_every": "look for faces in every so many frames",
    "tube_min_frames": "reject faces that are followed through fewer frames",
    "tube_max_frames": "cut tubes that are longer",
    "tube_min_px": "reject faces whose box is smaller, before its margin, in source pixels",
}


def build_parser() -> OneLineParser:
    defaults = {field.name: field.default for field in dataclasses.fields(BuildConfig)}
    parser = OneLineParser(
        prog="motionshards build",
        description="Turn a corpus of talking-head videos into WebDataset shards. Options of Apache Beam go after --.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--source", required=True, choices=SOURCES, help="the corpus")
    parser.add_argument(
        "--input",
        type=add.place,
        nargs="+",
        help="its directory or URL (s3://…), or its archives, read in place: zip or tar, also in parts, of which one is named "
        f"(default: ${DATA}/SOURCE or data/SOURCE; demo: where the videos are rendered, OUTPUT-videos)",
    )
    parser.add_argument("--metadata", type=Path, help="a csv of clips as FOMM's authors write it (voxceleb1, taichi, folder)")
    parser.add_argument(
        "--output", help="where the data set goes: a directory, or a URL of an object store, s3://… (default: shards/SOURCE)"
    )
    what = parser.add_argument_group("what is built (decides the bytes of the data set)")
    what.add_argument(
        "--unit", choices=UNITS, default=defaults["unit"], help="what one sample is; video: frames from all its utterances"
    )
    what.add_argument("--frames", type=int, default=defaults["frames"], help="frames a clip, K + 1")
    what.add_argument("--min-frames", type=int, help="reject clips with fewer frames (default: --frames)")
    what.add_argument("--size", type=int, default=defaults["size"], help="height and width of the stored frames")
    what.add_argument(
        "--recipe", choices=RECIPES, help="how the crop is placed (default: bbox where the source has boxes, else resize)"
    )
    what.add_argument("--fit", choices=FITS, default=defaults["fit"], help="keep the aspect with padding, or squash")
    what.add_argument("--landmarks", choices=models.CHOICES, default="auto", help="auto: fan where CUDA is there, else dlib")
    what.add_argument(
        "--no-face", choices=NO_FACE, help="clips without any face (default: keep for taichi and fashion, else reject)"
    )
    what.add_argument("--detector", choices=DETECTORS, default=defaults["detector"], help="FAN's face detector")
    what.add_argument("--precision", choices=PRECISIONS, default=defaults["precision"], help="FAN's arithmetic")
    what.add_argument("--aus", default="none", help=f"action units: {au_options.EXPECTED}")
    for name, text in TUBES.items():
        what.add_argument(f"--{name.replace('_', '-')}", type=int, default=defaults[name], help=f"recipe track: {text}")
    what.add_argument("--jpeg-quality", type=int, default=defaults["jpeg_quality"])
    what.add_argument("--seed", type=int, default=defaults["seed"])
    what.add_argument("--clips-per-shard", type=int, default=defaults["clips_per_shard"], help="the mean to aim for")
    what.add_argument("--decode-timeout", type=float, default=defaults["decode_timeout_s"], help="seconds for one ffmpeg process")
    what.add_argument(
        "--max-clip-bytes",
        type=int,
        default=defaults["max_clip_bytes"],
        help="reject clips whose files are larger once unpacked from an archive into memory",
    )
    what.add_argument("--decode-memory-mb", type=int, default=defaults["decode_memory_mb"], help="memory of one ffmpeg process")
    what.add_argument(
        "--hdr", choices=HDRS, default=defaults["hdr"], help="map HLG and PQ videos to BT.709, or keep their values"
    )
    which = parser.add_argument_group("which clips are planned now")
    which.add_argument("--split", action="append", choices=SPLITS, help="only this split (may be given twice)")
    which.add_argument("--limit", type=int, help="at most so many clips, a random choice that grows with the limit")
    which.add_argument("--retry", action="append", choices=_RETRY, default=[], help="build clips rejected for this reason again")
    which.add_argument(
        "--estimate",
        type=int,
        metavar="N",
        help="build nothing: N clips drawn at random, on trial and elsewhere, tell hours, disk and yield of the build",
    )
    add.offer(parser)
    how = parser.add_argument_group("how it runs")
    add.offer_runner(how)
    how.add_argument("--weights", type=Path, help="directory with FAN's weight files; else torch hub's cache, else fetched")
    how.add_argument("--openface", metavar="CMD", help=f"command line of --aus openface (default: $OPENFACE_BIN, or {PROGRAM})")
    how.add_argument("--openface-timeout", type=float, default=START_S, help="seconds for one call of it, and 2 more a frame")
    how.add_argument("--compile", action="store_true", help="compile FAN, for long builds")
    how.add_argument("--quiet", action="store_true", help="only the last line")
    how.add_argument("--json", action="store_true", help="the last line as JSON")
    return parser


def fill_in_places(options: argparse.Namespace) -> None:
    """Set `--input` and `--output` where they are not given. Raises ConfigError: the default input does not exist."""
    source = options.source
    if options.output is None:
        options.output = f"shards/{source}"
    if options.input is not None:
        return
    if source == "demo":
        if is_bucket(options.output):
            raise ConfigError(f"--output {options.output} needs --input")
        out = Path(options.output.removeprefix("file://"))
        options.input = [out.with_name(f"{out.name}-videos")]
        return
    root = Path(os.environ.get(DATA) or "data") / source
    if not root.exists():
        how = f"give --input, or set {DATA} to the directory that holds {source}/; docs/sources/{source}.md says where to get it"
        raise ConfigError(f"no --input is given and {root} does not exist. Expected there: {SOURCES[source].expected}; {how}")
    options.input = [root]
