"""The front door: videos in, verified WebDataset shards out.

    python -m dataset.build --source voxceleb2 --input DIR --output OUT
    python -m dataset.build --output OUT --add landmarks
    python -m dataset.build --source voxceleb2 --input DIR --output OUT --estimate 200

Exit status: 0 done, 1 nothing was kept or the run stopped, 2 unusable arguments, 130 interrupted. What is committed stays, and
the same command goes on from there.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from dataset import add
from dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show, stop_on_signals
from dataset.estimate import as_text as estimate_as_text
from dataset.verify_bucket import directory_of
from pipeline.drive import Ledger, build
from pipeline.input import Input, open_input, shown
from pipeline.mirror import mirrored
from pipeline.order import BuildOrder
from pipeline.plan import Wanted
from pipeline.runners import DASK, LOCAL, unknown_to_beam
from pipeline.sources import SOURCES, usual_no_face
from pipeline.sources.accounting import as_text
from schemas.bucket import is_bucket
from schemas.config import FITS, HDRS, NO_FACE, PRECISIONS, RECIPES, UNITS, BuildConfig
from schemas.errors import BuildFailed, ConfigError, DatasetError
from schemas.layout import SPLITS, text_of
from schemas.printable import printable
from schemas.reasons import REASONS
from transforms.extract.action_units import options as au_options
from transforms.extract.action_units.openface import PROGRAM, START_S
from transforms.extract.landmarks import models
from transforms.extract.landmarks.options import DETECTORS

OK, STOPPED = 0, 1
_GOES_ON, _UNTOUCHED = "What is committed stays; the same command goes on from there", "The output was not touched"
# What was taken out on request stays out.
_RETRY = [reason for reason in REASONS if reason != "removed"]

_TUBES = {
    "detect_every": "look for faces in every so many frames",
    "tube_min_frames": "reject faces that are followed through fewer frames",
    "tube_max_frames": "cut tubes that are longer",
    "tube_min_px": "reject faces whose box is smaller, before its margin, in source pixels",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    adding = add.is_meant(given)
    if adding and any(argument.partition("=")[0] == "--estimate" for argument in given):
        return end(UNUSABLE, "error: --estimate goes with a build, not with --add or --extend-frames")
    options, beam_options = _parse(add.parser(_parser()) if adding else _parser(), given)
    estimating = getattr(options, "estimate", None) is not None
    after = _UNTOUCHED if estimating else _GOES_ON
    try:
        if adding:
            show(add.run(options, beam_options, _sayer(options)))
            return OK
        if estimating:
            show(_estimate(options, beam_options))
            return OK
        ledger = _build(options, beam_options)
    except (ConfigError, DatasetError) as error:
        return end(UNUSABLE, f"error: {error}")
    except BuildFailed as error:
        return end(STOPPED, f"error: {error}. {after}")
    except OSError as error:
        then = _UNTOUCHED if estimating else "The same command goes on"
        return end(STOPPED, f"error: {error.strerror or error}: {error.filename or options.output}. {then}")
    except KeyboardInterrupt:
        return end(INTERRUPTED, f"interrupted. {after}")
    show(as_json(ledger, options.output) if options.json else as_line(ledger, options.output))
    return OK if ledger.manifest.counts["kept"] else STOPPED


def _parse(parser: OneLineParser, given: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and Beam's: those after `--`, and for a runner of Beam also those that Beam knows and we do not.

    Leaves with UNUSABLE where an option is neither.
    """
    at = given.index("--") if "--" in given else len(given)
    ours, beam = given[:at], [word for word in given[at:] if word != "--"]
    options, unknown = parser.parse_known_args(ours)
    foreign = [name for word in unknown if (name := word.partition("=")[0]) in getattr(options, "foreign", ())]
    if foreign:
        parser.error(f"{foreign[0]} does not go with an addition: the data set has its own")
    if unknown and (options.runner in (LOCAL, DASK) or unknown_to_beam(unknown)):
        told = parser.unknown(unknown)
        parser.error(f"{told}{'' if told.endswith('?') else '.'} Options of Apache Beam go after --")
    return options, unknown + beam


def _build(options: argparse.Namespace, beam_options: list[str]) -> Ledger:
    if not is_bucket(options.output):
        order, config = _understand(options, beam_options, Path(options.output.removeprefix("file://")))
        return build(order, config, _sayer(options))
    if options.input is None:
        raise ConfigError(f"--output {options.output} needs --input")
    with mirrored(options.output) as (out, bucket):
        order, config = _understand(options, beam_options, out)
        return build(dataclasses.replace(order, bucket=bucket), config, _sayer(options))


def _estimate(options: argparse.Namespace, beam_options: list[str]) -> str:
    """What a build would take. Of an object store the names are looked at: its markers tell what is built already."""
    from pipeline.estimate import estimate  # here, as scipy takes half a second that builds have no use for

    if options.retry:
        raise ConfigError("--estimate does not go with --retry")
    bucket = is_bucket(options.output)
    if bucket and options.input is None:
        raise ConfigError(f"--output {options.output} needs --input")
    place = directory_of(options.output) if bucket else nullcontext((Path(options.output.removeprefix("file://")), None))
    with place as (out, _):
        order, config = _understand(options, beam_options, out)
        if bucket and not order.runner.is_here:
            raise ConfigError("--estimate on a cluster needs an --output on a disk that all its workers see")
        found = estimate(order, config, options.estimate, _sayer(options))
    return json.dumps({**found, "output": options.output}) if options.json else estimate_as_text(found, options.output)


def as_line(ledger: Ledger, out: str) -> str:
    """The ledger for people: planned = kept + rejected, and what this run did."""
    counts = ledger.manifest.counts
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts["rejected"].items())
    rejected = f"{sum(counts['rejected'].values())} rejected" + (f" ({reasons})" if reasons else "")
    frames = ledger.clips_built * ledger.manifest.config.frames
    rates = f"{ledger.clips_built / ledger.seconds:.1f} clips/s, {frames / ledger.seconds:.0f} frames/s"
    done = (
        f"processed {ledger.clips_built} clips in {ledger.seconds:.0f} s ({rates})"
        if ledger.clips_built
        else "nothing new to build"
    )
    left_out = sum(ledger.manifest.left_out.values())
    others = f"; {left_out} files left out ({as_text(ledger.manifest.left_out)})" if left_out else ""
    tubes = counts["kept"] + sum(counts["rejected"].values()) - counts["planned"]
    planned = f"{counts['planned']} planned" + (f" and {tubes} further tubes" if tubes else "")
    line = f"{planned} = {counts['kept']} kept + {rejected}{others}; {done}; {counts['bytes'] / 1e6:.1f} MB in {out}"
    return text_of(line)


def as_json(ledger: Ledger, out: str) -> str:
    """The ledger for programs, one JSON object."""
    report = {
        **ledger.manifest.counts,
        "doubtful": {name: doubt["count"] for name, doubt in ledger.manifest.hygiene.items() if isinstance(doubt, dict)},
        "left_out": ledger.manifest.left_out,
        "clips_built": ledger.clips_built,
        "seconds": round(ledger.seconds, 3),
        "output": out,
    }
    return json.dumps(report)


def _parser() -> OneLineParser:
    defaults = {field.name: field.default for field in dataclasses.fields(BuildConfig)}
    parser = OneLineParser(
        prog="python -m dataset.build",
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
        "(demo: where the videos are rendered, OUTPUT-videos if not given)",
    )
    parser.add_argument("--metadata", type=Path, help="a csv of clips as FOMM's authors write it (voxceleb1, taichi, folder)")
    parser.add_argument(
        "--output", required=True, help="where the data set goes: a directory, or a URL of an object store, s3://…"
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
    for name, text in _TUBES.items():
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


def _understand(options: argparse.Namespace, beam_options: list[str], out: Path) -> tuple[BuildOrder, BuildConfig]:
    for name in ("--workers", "--limit", "--openface-timeout", "--estimate"):
        value = getattr(options, name[2:].replace("-", "_"))
        if value is not None and not value >= 1:
            raise ConfigError(f"{name} is {value}, must be at least 1")
    if options.metadata is not None and not SOURCES[options.source].reads_csv:
        readers = ", ".join(name for name, source in SOURCES.items() if source.reads_csv)
        raise ConfigError(f"--metadata goes with --source {readers}, and --source is {options.source}")
    if options.input is None and options.source != "demo":
        raise ConfigError(f"--source {options.source} needs --input")
    paths = options.input or [out.with_name(out.name + "-videos")]
    source = SOURCES[options.source]
    opened = open_input(paths, source.splits, takes_videos=source.takes_videos)
    landmarks, why = models.resolve(options.landmarks)
    _sayer(options)(f"landmarks: {landmarks} ({why})")
    aus = au_options.resolve(options.aus, options.openface, options.openface_timeout)
    recipe = options.recipe or _usual_recipe(options.source, opened, options.metadata)
    try:
        config = BuildConfig(
            source=options.source,
            unit=options.unit,
            frames=options.frames,
            min_frames=options.min_frames,
            size=options.size,
            recipe=recipe,
            fit=options.fit,
            landmarks=landmarks,
            detector=options.detector,
            precision=options.precision,
            no_face=options.no_face or usual_no_face(options.source, landmarks, recipe),
            **{name: getattr(options, name) for name in _TUBES},
            aus=aus.name if aus else "none",
            jpeg_quality=options.jpeg_quality,
            seed=options.seed,
            clips_per_shard=options.clips_per_shard,
            hdr=options.hdr,
            decode_timeout_s=options.decode_timeout,
            max_clip_bytes=options.max_clip_bytes,
            decode_memory_mb=options.decode_memory_mb,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    order = BuildOrder(
        input=opened,
        out=out,
        metadata=options.metadata,
        wanted=Wanted(frozenset(options.split) if options.split else None, options.limit),
        retry=tuple(options.retry),
        weights=options.weights,
        compile=options.compile,
        aus=aus,
        runner=add.runner(options, beam_options, landmarks),
        quiet=options.quiet,
    )
    return order, config


def _usual_recipe(source: str, opened: Input, metadata: Path | None) -> str:
    try:
        return SOURCES[source].recipe(opened.tree, metadata)
    except OSError as error:
        raise ConfigError(f"cannot read --input {shown(opened.root)}: {error.strerror}") from error


def _sayer(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    """Prints to stderr, unless told to be quiet."""
    return (lambda text: None) if options.quiet else (lambda text: show(printable(text), sys.stderr))


if __name__ == "__main__":
    stop_on_signals()
    sys.exit(main())
