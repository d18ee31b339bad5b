"""Add to a finished dataset: landmarks, face descriptors or quality from its stored frames, action units, or more frames.

    python -m dataset.build --output OUT --add landmarks|identity|quality
    python -m dataset.build --output OUT --add aus --aus openface --input DIR
    python -m dataset.build --output OUT --extend-frames N --input DIR
    python -m dataset.build --output OUT --drop identity

The dataset has its own settings, so options that would change them are refused.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from motionshards.dataset.build_options import AddOptions, places, refuse_settings
from motionshards.dataset.commandline import Command, Say, command, sayer, show
from motionshards.dataset.reading.people_table import read_people, store_people
from motionshards.pipeline.add import AddOrder, add, short_clips, without_aus
from motionshards.pipeline.build import Ledger
from motionshards.pipeline.inputs.input import open_input
from motionshards.pipeline.sources import SOURCES, usual_no_face
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import INDEX, PEOPLE
from motionshards.schemas.manifest import Manifest
from motionshards.transforms.extract.action_units.options import EXPECTED
from motionshards.transforms.extract.landmarks import models

RESUME = "Committed shards are kept; run the same command again to resume"


@command("build --add quality", after=lambda options: RESUME, rewrite=refuse_settings, takes_rest="Apache Beam")
def main(options: AddOptions) -> None:
    """Add to a finished dataset, which has its own settings."""
    say = sayer(options)
    manifest = Manifest.read(options.output)
    _check(options, manifest)
    changes = _changes(options, manifest.config, say)
    landmarks = changes.get("landmarks", manifest.config.landmarks if options.extend_frames else "none")
    source = SOURCES[manifest.config.source]
    order = AddOrder(
        out=options.output,
        what=options.add or ("no-identity" if options.drop else "frames"),
        config=changes,
        input=open_input(places(options.input), source.splits, takes_videos=source.takes_videos) if options.input else None,
        aus=options.running.au_source(options.aus),
        weights=options.running.weights,
        compile=options.running.compile,
        runner=options.running.runner_for(landmarks, options.rest),
        quiet=options.quiet,
    )
    ledger = add(order, datetime.now(UTC).isoformat(timespec="seconds"), say)
    if options.drop:
        _keep_people(options.output, manifest, ledger.manifest)
    show(_as_json(ledger, order) if options.json else _as_line(ledger, order))


def variant(words: Sequence[str]) -> Command[AddOptions] | None:
    """The command for words of `dataset.build` that ask for an addition; None for a build."""
    return main if any(word.partition("=")[0] in ("--add", "--drop", "--extend-frames") for word in words) else None


def _check(options: AddOptions, manifest: Manifest) -> None:
    """Raise ConfigError for options that do not fit together."""
    if sum(map(bool, (options.add, options.drop, options.extend_frames))) != 1:
        raise ConfigError("--add, --drop and --extend-frames do not go together")
    if options.source not in (None, manifest.config.source):
        raise ConfigError(f"--source is {options.source}, the dataset is of {manifest.config.source}")
    if options.add != "aus" and bool(options.input) != bool(options.extend_frames):
        other = "--drop identity" if options.drop else f"--add {options.add}"
        raise ConfigError("--extend-frames needs --input" if options.extend_frames else f"{other} reads no --input")
    if options.add and (options.aus == "none") == (options.add == "aus"):
        raise ConfigError(f"--add {options.add} with --aus {options.aus}: action units are added by --add aus --aus {EXPECTED}")


def _changes(options: AddOptions, config: BuildConfig, say: Say) -> dict[str, Any]:
    """The fields of the config that the addition changes."""
    if options.extend_frames:
        return {"frames": options.extend_frames, "min_frames": config.fewest_frames}
    if options.add == "aus":
        return {"aus": options.aus.partition(":")[0], "aus_frames": options.aus_frames}
    if options.add == "quality":
        return {}
    if options.drop or options.add == "identity":
        return {"identity_embedding": not options.drop}
    name, why = models.resolve(options.landmarks)
    say(f"landmarks: {name} ({why})")
    no_face = usual_no_face(config.source, name, config.recipe)  # as a later build of the same source has it
    return {"landmarks": name, "detector": options.detector, "precision": options.precision, "no_face": no_face}


def _keep_people(out: Path, before: Manifest, after: Manifest) -> None:
    """Carry people.parquet over to the index without descriptors: who is in which clip is known without them.

    Where it was outdated before, or another command writes now, it stays outdated.
    """
    with suppress(ConfigError, DatasetError):
        store_people(out, read_people(out / PEOPLE, before.files.get(INDEX, "")), after.files.get(INDEX, ""))


def _as_line(ledger: Ledger, order: AddOrder) -> str:
    counts, seconds = ledger.manifest.counts, ledger.seconds
    done = (
        f"rewrote the shards of {ledger.clips_built} planned clips in {seconds:.0f} s" if ledger.clips_built else "nothing to do"
    )
    short = short_clips(order.out, ledger.manifest.config) if order.what == "frames" else 0
    lost = f"; {short} keep the frames they had, as their video could not be read again or is another" if short else ""
    if order.what == "aus" and (empty := without_aus(order.out)):
        lost = f"; {empty} of them have no frame with valid action units"
    if order.what == "no-identity":
        what = "identity dropped from"
    else:
        what = f"{f'frames, now {ledger.manifest.config.frames},' if order.what == 'frames' else order.what} added to"
    return f"{what} {counts['kept'] - short} clips{lost}; {done}; {counts['bytes'] / 1e6:.1f} MB in {order.out}"


def _as_json(ledger: Ledger, order: AddOrder) -> str:
    short = short_clips(order.out, ledger.manifest.config) if order.what == "frames" else 0
    done = {"added": order.what, "clips_rewritten": ledger.clips_built, "short": short, "seconds": round(ledger.seconds, 3)}
    valid = {"without_aus": without_aus(order.out)} if order.what == "aus" else {}
    return json.dumps({**ledger.manifest.counts, **done, **valid, "output": str(order.out)})
