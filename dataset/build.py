"""The front door: videos in, verified WebDataset shards out.

    python -m dataset.build --source voxceleb2 --input DIR --output OUT
    python -m dataset.build --output OUT --add landmarks
    python -m dataset.build --source voxceleb2 --input DIR --output OUT --estimate 200

Exit status: 0 done, 1 nothing was kept or the run stopped, 2 unusable arguments, 130 interrupted. What is committed stays, and
the same command goes on from there.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from motionshards.dataset import add
from motionshards.dataset.build_options import TUBES, build_parser, fill_in_places
from motionshards.dataset.commandline import INTERRUPTED, UNUSABLE, OneLineParser, end, show
from motionshards.dataset.estimate import as_text as estimate_as_text
from motionshards.dataset.storage.bucket import directory_of
from motionshards.pipeline.build import Ledger, build
from motionshards.pipeline.inputs.accounting import as_text
from motionshards.pipeline.inputs.input import Input, open_input, shown
from motionshards.pipeline.order import BuildOrder
from motionshards.pipeline.planning.plan import Wanted
from motionshards.pipeline.runners.choose import DASK, LOCAL, unknown_to_beam
from motionshards.pipeline.shards.bucket import mirrored
from motionshards.pipeline.sources import SOURCES, usual_no_face
from motionshards.schemas.bucket import is_bucket
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import BuildFailed, ConfigError, DatasetError
from motionshards.schemas.layout import text_of
from motionshards.schemas.printable import printable
from motionshards.transforms.extract.action_units import options as au_options
from motionshards.transforms.extract.landmarks import models

OK, STOPPED = 0, 1
_GOES_ON, _UNTOUCHED = "What is committed stays; the same command goes on from there", "The output was not touched"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    adding = add.is_meant(given)
    if adding and any(argument.partition("=")[0] == "--estimate" for argument in given):
        return end(UNUSABLE, "error: --estimate goes with a build, not with --add or --extend-frames")
    options, beam_options = _parse(add.parser(build_parser()) if adding else build_parser(), given)
    estimating = getattr(options, "estimate", None) is not None
    after = _UNTOUCHED if estimating else _GOES_ON
    try:
        if adding:
            show(add.run(options, beam_options, _sayer(options)))
            return OK
        fill_in_places(options)
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
    with mirrored(options.output) as (out, bucket):
        order, config = _understand(options, beam_options, out)
        return build(dataclasses.replace(order, bucket=bucket), config, _sayer(options))


def _estimate(options: argparse.Namespace, beam_options: list[str]) -> str:
    """What a build would take. Of an object store the names are looked at: its markers tell what is built already."""
    from motionshards.pipeline.estimate.estimate import estimate  # here, as scipy takes half a second that builds have no use for

    if options.retry:
        raise ConfigError("--estimate does not go with --retry")
    bucket = is_bucket(options.output)
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
    others = f"; {left_out} file{'' if left_out == 1 else 's'} left out ({as_text(ledger.manifest.left_out)})" if left_out else ""
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


def _understand(options: argparse.Namespace, beam_options: list[str], out: Path) -> tuple[BuildOrder, BuildConfig]:
    for name in ("--workers", "--limit", "--openface-timeout", "--estimate"):
        value = getattr(options, name[2:].replace("-", "_"))
        if value is not None and not value >= 1:
            raise ConfigError(f"{name} is {value}, must be at least 1")
    if options.metadata is not None and not SOURCES[options.source].reads_csv:
        readers = ", ".join(name for name, source in SOURCES.items() if source.reads_csv)
        raise ConfigError(f"--metadata goes with --source {readers}, and --source is {options.source}")
    source = SOURCES[options.source]
    opened = open_input(options.input, source.splits, takes_videos=source.takes_videos)
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
            **{name: getattr(options, name) for name in TUBES},
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
