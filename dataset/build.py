"""Build a dataset: videos in, verified WebDataset shards out.

    python -m dataset.build --source voxceleb2 --input DIR --output OUT
    python -m dataset.build --output OUT --add landmarks
    python -m dataset.build --source voxceleb2 --input DIR --output OUT --estimate 200

Exit status: 0 done, 1 no clip was kept or the build failed, 2 invalid arguments, 130 interrupted. Committed shards are kept;
run the same command again to resume.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import dataclasses
import json
from pathlib import Path

from motionshards.dataset import add
from motionshards.dataset.build_options import BuildOptions, beam_options_last, input_of, output_of, split_sizes
from motionshards.dataset.commandline import FAILED, OK, Log, command, show, stderr_log
from motionshards.dataset.estimate import as_text as estimate_as_text
from motionshards.dataset.storage.bucket import directory_of
from motionshards.pipeline.build import Ledger, build
from motionshards.pipeline.default_recipe import choose_recipe
from motionshards.pipeline.inputs.accounting import as_text
from motionshards.pipeline.inputs.input import Input, open_input, resolved, shown
from motionshards.pipeline.order import BuildOrder
from motionshards.pipeline.planning.plan import Subset
from motionshards.pipeline.shards.bucket import mirrored
from motionshards.pipeline.sources import SOURCES
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.bucket import is_bucket
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import DATASET_JSON, text_of
from motionshards.schemas.manifest import Manifest
from motionshards.transforms.extract.landmarks import models

Places = list[Path | str]


def _after(options: BuildOptions) -> str:
    return "The output was not changed" if options.estimate else add.RESUME


def _rewrite(words: list[str]) -> list[str]:
    return beam_options_last(main.app(), split_sizes(words))


@command("build", after=_after, takes_rest="Apache Beam", rewrite=_rewrite, variant=add.variant)
def main(options: BuildOptions) -> int:
    """Turn a corpus of videos into WebDataset shards.

    `--add`, `--drop` and `--extend-frames` change a finished dataset instead, see `motionshards build --add quality --help`.
    """
    videos = input_of(options)
    if options.estimate:
        show(_estimate(options, videos, options.estimate))
        return OK
    ledger = _build(options, videos)
    show(as_json(ledger, output_of(options)) if options.json else as_line(ledger, output_of(options)))
    if not ledger.manifest.counts["kept"]:
        return FAILED
    options.suggest(f"motionshards verify {output_of(options)}", f"motionshards report {output_of(options)}")
    return OK


def _build(options: BuildOptions, videos: Places) -> Ledger:
    log, output = stderr_log(options), output_of(options)
    if not is_bucket(output):
        return build(*_resolve(options, videos, Path(output.removeprefix("file://"))), log)
    with mirrored(output) as (out, bucket):
        order, config = _resolve(options, videos, out)
        return build(dataclasses.replace(order, bucket=bucket), config, log)


def _estimate(options: BuildOptions, videos: Places, clips: int) -> str:
    """The estimate as text. In an object store, only names are listed: markers show what has been built already."""
    from motionshards.pipeline.estimate.estimate import estimate  # imported here: scipy takes half a second

    if options.retry:
        raise ConfigError("--estimate and --retry cannot be combined")
    log, output = stderr_log(options), output_of(options)
    with directory_of(output) as (out, bucket):
        order, config = _resolve(options, videos, out)
        if bucket and not order.runner.is_local:
            raise ConfigError("--estimate on a cluster needs an --output on a disk shared by all workers")
        found = estimate(order, config, clips, log)
    return json.dumps({**found, "output": output}) if options.json else estimate_as_text(found, output)


def as_line(ledger: Ledger, out: str) -> str:
    """The summary line: planned = kept + rejected, and what this run did."""
    counts = ledger.manifest.counts
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts["rejected"].items())
    rejected = f"{sum(counts['rejected'].values())} rejected" + (f" ({reasons})" if reasons else "")
    frames = counts["frames"] * ledger.manifest.config.stores_stills + counts.get("video_frames", 0)
    hz = [count / ledger.seconds for count in (ledger.clips_built, frames * ledger.clips_built / max(1, counts["planned"]))]
    rates = "{:.3g} clips/s, {:.3g} frames/s".format(*hz)
    done = (
        f"processed {ledger.clips_built} clips in {ledger.seconds:.0f} s ({rates})"
        if ledger.clips_built
        else "nothing new to build"
    )
    left_out = sum(ledger.manifest.left_out.values())
    others = f"; {left_out} file{'' if left_out == 1 else 's'} skipped ({as_text(ledger.manifest.left_out)})" if left_out else ""
    tubes = counts["kept"] + sum(counts["rejected"].values()) - counts["planned"]
    planned = f"{counts['planned']} planned" + (f" and {tubes} further tube{'' if tubes == 1 else 's'}" if tubes else "")
    line = f"{planned} = {counts['kept']} kept + {rejected}{others}; {done}; {counts['bytes'] / 1e6:.1f} MB in {out}"
    return text_of("; ".join([line, *ledger.manifest.advice]))


def as_json(ledger: Ledger, out: str) -> str:
    """The summary as one JSON object."""
    report = {
        **ledger.manifest.counts,
        "doubtful": {name: doubt["count"] for name, doubt in ledger.manifest.hygiene.items() if isinstance(doubt, dict)},
        "left_out": ledger.manifest.left_out,
        "advice": ledger.manifest.advice,
        "clips_built": ledger.clips_built,
        "seconds": round(ledger.seconds, 3),
        "output": out,
    }
    return json.dumps(report)


def _resolve(options: BuildOptions, videos: Places, out: Path) -> tuple[BuildOrder, BuildConfig]:
    """What to build, with all defaults resolved that depend on the source, the input or the machine."""
    source = SOURCES[options.source]
    if options.metadata is not None and not source.reads_csv:
        readers = ", ".join(name for name, each in SOURCES.items() if each.reads_csv)
        raise ConfigError(f"--metadata cannot be used with --source {options.source}, only with {readers}")
    opened = open_input(videos, source.splits, takes_videos=source.takes_videos)
    landmarks, why = models.resolve(options.landmarks)
    remarks = [f"landmarks: {landmarks} ({why})"]
    aus = options.running.au_source(options.aus)
    recipe = options.recipe or _usual_recipe(options, opened, landmarks, out, remarks.append)
    config = options.config(recipe, landmarks, aus)
    order = BuildOrder(
        input=opened,
        out=out,
        metadata=options.metadata,
        subset=Subset(frozenset(options.split) or None, options.limit),
        retry=options.retry,
        weights=options.running.weights,
        compile=options.running.compile,
        aus=aus,
        runner=options.running.runner_for(landmarks, options.rest),
        remarks=tuple(remarks),
        quiet=options.quiet,
    )
    return order, config


def _usual_recipe(options: BuildOptions, opened: Input, landmarks: str, out: Path, log: Log) -> str:
    """The default recipe; for a partly built dataset, the recipe it was started with."""
    try:
        recipe = SOURCES[options.source].recipe(opened.tree, options.metadata)
        if recipe is not None:
            return recipe
        if (out / DATASET_JSON).exists():
            return Manifest.read(out).config.recipe
        if landmarks == "none" or options.no_face == "keep" or options.settings.unit == "video":
            return "resize"  # all other candidates track faces, which these settings rule out
        clips = SOURCES[options.source].list_clips(Listing(opened.tree))
        dlib = models.load("dlib")  # always available, and as good for this purpose as the model of the build
        assert dlib is not None
        recipe, why = choose_recipe(clips, resolved(opened.root), dlib, options.config("resize", landmarks, None))
    except OSError as error:
        raise ConfigError(f"cannot read --input {shown(opened.root)}: {error.strerror}") from error
    log(f"recipe: {recipe} ({why})")
    return recipe
