"""An addition to a finished data set, from start to end: check, rewrite every shard, finalize.

It runs as a build does: the same graph and runners, one shard a unit, committed by its marker, which tells that it has the
addition. Stopped, it goes on with the shards that lack it.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from motionshards.pipeline.build import Ledger, decoders, folder_of, run_units
from motionshards.pipeline.clips.action_units import check_csvs, reads_videos
from motionshards.pipeline.finalize import finalize
from motionshards.pipeline.inputs.input import Input, check_archives, resolved, shown
from motionshards.pipeline.inputs.unpack import is_there
from motionshards.pipeline.planning import plan
from motionshards.pipeline.planning.intact import check_intact
from motionshards.pipeline.planning.provenance import PIPELINE_VERSION, provenance, versions
from motionshards.pipeline.runners.choose import Runner
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.shards.markers import pending
from motionshards.pipeline.upgrade import upgraded
from motionshards.schemas.config import BuildConfig, differences
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import INDEX, WORK_DIR
from motionshards.schemas.manifest import Addition, Manifest, made_by
from motionshards.schemas.output import only_writer
from motionshards.schemas.records import ShardUnit
from motionshards.schemas.removal import is_placeholder
from motionshards.schemas.tables import open_parquet
from motionshards.transforms.extract.action_units.source import AU_PROVENANCE, AuSource
from motionshards.transforms.extract.identity import descriptor
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.options import ModelOptions

_STORED, _DECODED = "stored JPEG frames", "decoded frames"
_LOOKED_FOR = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class AddOrder:
    """What the user asks for.

    out: the data set
    what: what is added, a key of `add_shard.ADDERS`
    config: the fields of the config that change, with their new values
    input: where the videos are, for `frames`, and for `aus` from sequences
    aus: where action units come from, for `aus`, and for `frames` of a data set that has them
    weights, compile: directory with weight files of models, looked into first; and whether to compile the networks
    runner: where to run
    """

    out: Path
    what: str
    config: dict[str, Any] = field(default_factory=dict)
    input: Input | None = None
    aus: AuSource | None = None
    weights: Path | None = None
    compile: bool = False
    runner: Runner = field(default_factory=Runner)
    quiet: bool = False


def add(order: AddOrder, at: str, say: Callable[[str], None]) -> Ledger:
    """Rewrite the shards that lack the addition, then index, ledger and card.

    at: the time that is recorded

    Raises:
        ConfigError: it cannot be added; nothing has been changed
        DatasetError: there is no data set
        BuildFailed: the run stopped; committed shards are kept, and a further run resumes
    """
    with only_writer(order.out):
        manifest = Manifest.read(order.out)
        if _is_there(order, manifest):
            return Ledger(manifest, 0, 0.0)
        check_intact(order.out, manifest)
        config = _changed(manifest.config, order)
        _check_input(order, manifest)
        addition = _addition(order, manifest, config, at)
        manifest = upgraded(order.out, manifest, say)
        shutil.rmtree(order.out / WORK_DIR, ignore_errors=True)  # of a run that was killed
        if manifest.addition:
            say(f"going on with what was begun at {manifest.addition.at}")
        else:
            manifest = replace(manifest, complete=False, additions=(*manifest.additions, addition))
            manifest.write(order.out)
        ledger = _add(order, manifest, addition, config)
        shutil.rmtree(order.out / WORK_DIR, ignore_errors=True)
    return ledger


def short_clips(out: Path, config: BuildConfig) -> int:
    """How many clips of a finished data set have fewer frames than the config says and their source had."""
    with open_parquet(out / INDEX) as file:
        rows = file.read(["n_frames", "source_frames"])
    wanted = pc.min_element_wise(rows["source_frames"], config.frames)
    return int(pc.sum(pc.less(rows["n_frames"], wanted), min_count=0).as_py())


def without_aus(out: Path) -> int:
    """How many clips of a finished data set with action units have no frame in which they are valid."""
    with open_parquet(out / INDEX) as file:
        return int(pc.sum(pc.equal(file.read(["au_valid"])["au_valid"], 0), min_count=0).as_py())


def _is_there(order: AddOrder, manifest: Manifest) -> bool:
    """Whether the data set is what it would be with the addition; computing action units or quality again is never in vain."""
    same = order.what not in ("aus", "quality") and order.config.items() <= manifest.config.to_json().items()
    return same and manifest.unfinished is None and not (order.what == "frames" and short_clips(order.out, manifest.config))


def _changed(config: BuildConfig, order: AddOrder) -> BuildConfig:
    """The config that the data set has with the addition."""
    if order.what == "landmarks" and config.landmarks != "none":
        raise ConfigError(f"{order.out} has landmarks already, of {config.landmarks}")
    if order.what == "frames" and order.config["frames"] < config.frames:
        raise ConfigError(f"{order.out} has {config.frames} frames a clip already")
    if order.what == "frames" and (given := order.aus.name if order.aus else "none") != config.aus:
        raise ConfigError(f"{order.out} has action units of {config.aus}, and --aus is {given}")
    try:
        return replace(config, **order.config)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_input(order: AddOrder, manifest: Manifest) -> None:
    """Raise ConfigError where videos or csv files are elsewhere: that would be found out clip by clip, and nothing be added."""
    if order.what not in ("aus", "frames"):
        return
    config = _changed(manifest.config, order)
    needed = order.what == "frames" or (order.aus is not None and reads_videos(order.aus, config))
    if (order.input is not None) != needed:
        how = f"--aus {config.aus}" + (" --aus-frames all" if config.aus_frames == "all" else "")
        raise ConfigError(f"--add aus {how} {'needs --input, as it reads the videos' if needed else 'reads no --input'}")
    planned = plan.read_plan(plan.plan_files(order.out)[0])
    planned = planned.filter(pa.array([not is_placeholder(key) for key in planned["key"].to_pylist()], pa.bool_()))
    if order.what == "aus":
        check_csvs(order.aus, planned)
    if order.input is None:
        return
    root = order.input.root
    check_archives(root, manifest.archives)
    spans = [row[0] for row in planned["spans"].slice(0, _LOOKED_FOR).to_pylist()]
    if spans and not any(span["packed"] or is_there(root, span["uri"]) for span in spans):
        raise ConfigError(f"--input {shown(root)} has none of {len(spans)} videos that {order.out} was built from")


def _addition(order: AddOrder, manifest: Manifest, config: BuildConfig, at: str) -> Addition:
    """The addition, new, or the one that was begun if it is the same."""
    begun, pixels = manifest.addition, _STORED if order.input is None else _DECODED
    number = begun.number if begun else len(manifest.additions) + 1
    addition = Addition(number, order.what, at, pixels, order.config, _made_with(order, manifest, config))
    if manifest.interrupted and not (begun and begun.same_as(addition)):
        raise ConfigError(f"{order.out}: {manifest.interrupted}{_difference(begun, addition)}")
    if begun is None and (manifest.unfinished or pending(plan.units(order.out), order.out)):
        raise ConfigError(f"{order.out}: {manifest.unfinished or 'the build is unfinished, run it again'}, then add to it")
    return begun or addition


def _difference(begun: Addition | None, asked: Addition) -> str:
    if begun is None or begun.what != asked.what:
        return ""
    changed = differences({**begun.config, **begun.provenance}, {**asked.config, **asked.provenance})
    return f", as it was begun ({'; '.join(changed)})"


def _made_with(order: AddOrder, manifest: Manifest, config: BuildConfig) -> dict[str, str]:
    """What decides the bytes of the addition; for more frames that is what decided those of the old ones."""
    if order.what != "frames":
        return {"motionshards_pipeline": PIPELINE_VERSION, **versions(), **_model_provenance(order, config)}
    now = provenance(config, order.weights, order.aus)
    if changed := differences(manifest.provenance, now):
        raise ConfigError(f"{order.out} was made differently ({'; '.join(changed)}), so its clips cannot get more frames here")
    return now


def _provenance(order: AddOrder, manifest: Manifest, config: BuildConfig) -> dict[str, str]:
    """That of the data set with the addition."""
    return {**_kept_provenance(order, manifest), **_model_provenance(order, config)}


def _model_provenance(order: AddOrder, config: BuildConfig) -> dict[str, str]:
    """What the provenance of the data set gains."""
    if order.what == "landmarks":
        return models.provenance(config.landmarks, ModelOptions(config.detector, config.precision, order.weights))
    if order.what == "identity" or (order.what == "no-identity" and config.one_person):
        return descriptor.provenance()
    return order.aus.provenance() if order.what == "aus" and order.aus else {}


def _kept_provenance(order: AddOrder, manifest: Manifest) -> dict[str, str]:
    """That of the dataset, without that of action units which are replaced or of face descriptors which are dropped."""
    gone = {"aus": AU_PROVENANCE, "no-identity": ("identity_model",)}.get(order.what, ())
    return {name: value for name, value in manifest.provenance.items() if not name.startswith(gone)}


def _add(order: AddOrder, manifest: Manifest, addition: Addition, config: BuildConfig) -> Ledger:
    start = time.monotonic()
    units = plan.units(order.out)
    left = pending(units, order.out, addition.number)
    if left:
        _run(order, manifest, addition, config, sum(map(len, units)), left)
    others = tuple(one for one in manifest.additions if one.number != addition.number)
    manifest = replace(
        manifest,
        config=config,
        provenance=_provenance(order, manifest, config),
        aus_from=folder_of(order.aus) or ("" if order.what == "aus" else manifest.aus_from),
        additions=(*others, replace(addition, finished=True)),
    )
    return Ledger(finalize(order.out, manifest), sum(len(unit) for unit in left), time.monotonic() - start)


def _run(order: AddOrder, manifest: Manifest, addition: Addition, config: BuildConfig, total: int, left: list[ShardUnit]) -> None:
    """Rewrite the units that are left of `total` planned clips."""
    job = BuildJob(
        resolved(order.input.root if order.input else order.out),
        order.out.resolve(),
        config,
        manifest.provenance["ffmpeg"],
        decoders=decoders(config, order.runner.workers),
        weights=order.weights.resolve() if order.weights else None,
        compile=order.compile,
        aus=order.aus,
        made_by=made_by(config, _provenance(order, manifest, config)),
        addition=addition.number,
        adding=addition.what,
    )
    run_units(left, total, job, order.runner, quiet=order.quiet)
