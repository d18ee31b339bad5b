"""Add to a finished dataset: video and sound, more frames, or measurements of stored frames.

    python -m dataset.build --output OUT --add video|audio --input DIR
    python -m dataset.build --output OUT --add landmarks|identity|quality|speech
    python -m dataset.build --output OUT --add aus --aus openface --input DIR
    python -m dataset.build --output OUT --extend-frames N --input DIR
    python -m dataset.build --output OUT --drop identity

The dataset keeps its settings; options that would change them are refused.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from motionshards.dataset.build_options import AddOptions, places, refuse_settings
from motionshards.dataset.commandline import Command, Log, command, show, stderr_log
from motionshards.dataset.reading.people_table import read_people, store_people
from motionshards.pipeline.add import add
from motionshards.pipeline.add_order import AddOrder, count_lacking, count_with_audio, count_without_aus
from motionshards.pipeline.build import Ledger
from motionshards.pipeline.inputs.input import open_input
from motionshards.pipeline.sources import SOURCES, default_no_face
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import INDEX, PEOPLE
from motionshards.schemas.manifest import Manifest
from motionshards.transforms.extract.action_units.options import EXPECTED
from motionshards.transforms.extract.landmarks import models

# Options that belong to --add audio and --add video.
_AUDIO = ("audio", "audio_hz")
_VIDEO = ("fps", "crf", "video_psnr", "video_copy", "landmarks_every", *_AUDIO)

RESUME = "Committed shards are kept; run the same command again to resume"


@command("build --add quality", after=lambda options: RESUME, rewrite=refuse_settings, takes_rest="Apache Beam")
def main(options: AddOptions) -> None:
    """Add to a finished dataset, or drop face descriptors; its other settings stay as they are."""
    log = stderr_log(options)
    manifest = Manifest.read(options.output)
    _check(options, manifest)
    changes = _changes(options, manifest.config, log)
    landmarks = changes.get("landmarks", manifest.config.landmarks if options.extend_frames or options.add == "video" else "none")
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
    ledger = add(order, datetime.now(UTC).isoformat(timespec="seconds"), log)
    if options.drop:
        _keep_people(options.output, manifest, ledger.manifest)
    show(_as_json(ledger, order) if options.json else _as_line(ledger, order))


def variant(words: Sequence[str]) -> Command[AddOptions] | None:
    """The command for an addition if the words of `dataset.build` request one; None for a build."""
    return main if any(word.partition("=")[0] in ("--add", "--drop", "--extend-frames") for word in words) else None


def _check(options: AddOptions, manifest: Manifest) -> None:
    """Raises ConfigError: options cannot be combined."""
    if sum(map(bool, (options.add, options.drop, options.extend_frames))) != 1:
        raise ConfigError("--add, --drop and --extend-frames cannot be combined")
    if options.source not in (None, manifest.config.source):
        raise ConfigError(f"--source {options.source} does not match the dataset, which was built from {manifest.config.source}")
    takes = _VIDEO if options.add == "video" else _AUDIO if options.add == "audio" else ()
    for name in _VIDEO:
        if name not in takes and getattr(options, name) != getattr(AddOptions, name):
            raise ConfigError(f"--{name.replace('_', '-')} needs --add video{' or --add audio' * (name in _AUDIO)}")
    if (options.add, options.audio) == ("audio", "none"):
        raise ConfigError("--add audio with --audio none adds nothing")
    if options.add and (options.aus == "none") == (options.add == "aus"):
        raise ConfigError(f"--add {options.add} with --aus {options.aus}: to add action units, use --add aus --aus {EXPECTED}")


def _changes(options: AddOptions, config: BuildConfig, log: Log) -> dict[str, Any]:
    """Fields of the config that the addition changes."""
    if options.extend_frames:
        return {"frames": options.extend_frames, "min_frames": config.required_frames}
    if options.add == "aus":
        return {"aus": options.aus.partition(":")[0], "aus_frames": options.aus_frames}
    if options.add == "speech":
        return {"speech": True}
    if options.add in ("video", "audio"):
        settings = {name: getattr(options, name) for name in (_VIDEO if options.add == "video" else _AUDIO)}
        return {"store": "both", **settings} if options.add == "video" else settings
    if options.add == "quality":
        return {}
    if options.drop or options.add == "identity":
        return {"identity_embedding": not options.drop}
    name, why = models.resolve(options.landmarks)
    log(f"landmarks: {name} ({why})")
    no_face = default_no_face(config.source, name, config.recipe)  # what a build of the same source would use
    return {"landmarks": name, "detector": options.detector, "precision": options.precision, "no_face": no_face}


def _keep_people(out: Path, before: Manifest, after: Manifest) -> None:
    """Make people.parquet valid for the new index: it does not depend on the dropped descriptors.

    If it was outdated before, or another command is writing, it is left outdated.
    """
    with suppress(ConfigError, DatasetError):
        store_people(out, read_people(out / PEOPLE, before.files.get(INDEX, "")), after.files.get(INDEX, ""))


_LACKING = {
    "frames": "keep their old frames, because their source video is unreadable or has changed",
    "frames-of-video": "have fewer, because stored video does not show all of them; pass --input to add the others",
    "video": "have none, because their source video is unreadable or has changed",
    "audio": "have none, because their source video is unreadable or has changed",
}


def _as_line(ledger: Ledger, order: AddOrder) -> str:
    counts, seconds, config = ledger.manifest.counts, ledger.seconds, ledger.manifest.config
    done = (
        f"rewrote the shards of {ledger.clips_built} planned clips in {seconds:.0f} s" if ledger.clips_built else "nothing to do"
    )
    without = count_lacking(order.out, order.what, config)
    lost = f"; {without} {_LACKING[order.adding]}" if without else ""
    if order.what == "aus" and (empty := count_without_aus(order.out)):
        lost = f"; {empty} of them have no frame with valid action units"
    if order.what == "no-identity":
        what = "face descriptors dropped from"
    else:
        what = f"{f'frames, now {config.frames},' if order.what == 'frames' else order.what} added to"
    clips = count_with_audio(order.out) if order.what in ("audio", "speech") else counts["kept"] - without
    return f"{what} {clips} clips{lost}; {done}; {counts['bytes'] / 1e6:.1f} MB in {order.out}"


def _as_json(ledger: Ledger, order: AddOrder) -> str:
    short = count_lacking(order.out, order.what, ledger.manifest.config)
    done = {"added": order.what, "clips_rewritten": ledger.clips_built, "short": short, "seconds": round(ledger.seconds, 3)}
    valid = {"without_aus": count_without_aus(order.out)} if order.what == "aus" else {}
    return json.dumps({**ledger.manifest.counts, **done, **valid, "output": str(order.out)})
