"""Add data to a finished dataset: check, rewrite every shard, finalize.

It runs like a build, with the same graph and runners, one shard per unit, committed by its marker, which records the addition.
An interrupted addition resumes with the shards that lack it.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace

from motionshards.pipeline.add_order import AddOrder, changed_config, check_input, check_needs_input, has_addition
from motionshards.pipeline.build import Ledger, decoders, folder_of, run_units
from motionshards.pipeline.finalize import finalize
from motionshards.pipeline.inputs.input import resolved
from motionshards.pipeline.planning import plan
from motionshards.pipeline.planning.intact import check_intact
from motionshards.pipeline.planning.provenance import PIPELINE_VERSION, provenance, versions
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.shards.markers import pending
from motionshards.pipeline.upgrade import upgraded
from motionshards.schemas.config import BuildConfig, differences
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import WORK_DIR
from motionshards.schemas.manifest import Addition, Manifest, made_by
from motionshards.schemas.output import only_writer
from motionshards.schemas.records import ShardUnit
from motionshards.transforms.extract import speech
from motionshards.transforms.extract.action_units.source import AU_PROVENANCE
from motionshards.transforms.extract.decoder.client import encoder_version
from motionshards.transforms.extract.identity import descriptor
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.options import ModelOptions

_DECODED, _STORED_VIDEO = "decoded frames", "stored video"
_OTHERS = {"frames": _STORED_VIDEO, "speech": "stored sound"}
_STORED = {"stills": "stored JPEG frames", "video": _STORED_VIDEO, "both": "stored JPEG frames and video"}


def add(order: AddOrder, at: str, log: Callable[[str], None]) -> Ledger:
    """Rewrite the shards that lack the addition, then index, ledger and card.

    at: time to record, UTC, ISO 8601

    Raises:
        ConfigError: the addition is not possible; nothing has been changed
        DatasetError: there is no dataset
        BuildFailed: the run stopped; committed shards are kept, and a further run resumes
    """
    with only_writer(order.out):
        manifest = Manifest.read(order.out)
        present = has_addition(order, manifest)
        config = manifest.config if present else changed_config(manifest.config, order)
        check_needs_input(order, config)
        if present:
            return Ledger(manifest, 0, 0.0)
        check_intact(order.out, manifest)
        check_input(order, manifest)
        addition = _addition(order, manifest, config, at)
        manifest = upgraded(order.out, manifest, log)
        shutil.rmtree(order.out / WORK_DIR, ignore_errors=True)  # left by a killed run
        if manifest.addition:
            log(f"resuming the addition started at {manifest.addition.at}")
        else:
            manifest = replace(manifest, complete=False, additions=(*manifest.additions, addition))
            manifest.write(order.out)
        ledger = _add(order, manifest, addition, config)
        shutil.rmtree(order.out / WORK_DIR, ignore_errors=True)
    return ledger


def _addition(order: AddOrder, manifest: Manifest, config: BuildConfig, at: str) -> Addition:
    """The unfinished addition, if it is the same as the requested one, or a new one."""
    started, stored = manifest.addition, _OTHERS.get(order.what, _STORED[manifest.config.store])
    pixels = stored if order.input is None else _DECODED
    number = started.number if started else len(manifest.additions) + 1
    addition = Addition(number, order.what, at, pixels, order.config, _made_with(order, manifest, config))
    if manifest.interrupted and not (started and started.same_as(addition)):
        raise ConfigError(f"{order.out}: {manifest.interrupted}{_difference(started, addition)}")
    if started is None and (manifest.unfinished or pending(plan.units(order.out), order.out)):
        raise ConfigError(f"{order.out}: {manifest.unfinished or 'the build is unfinished; run it again'}, then add to it")
    return started or addition


def _difference(started: Addition | None, requested: Addition) -> str:
    if started is None or started.what != requested.what:
        return ""
    changed = differences({**started.config, **started.provenance}, {**requested.config, **requested.provenance})
    return f", with its original settings ({'; '.join(changed)})"


def _made_with(order: AddOrder, manifest: Manifest, config: BuildConfig) -> dict[str, str]:
    """Provenance of the addition; if it reads videos, it must match the provenance of the dataset."""
    if not order.reads_videos:
        return {"motionshards_pipeline": PIPELINE_VERSION, **versions(), **_model_provenance(order, config)}
    now, before = provenance(config, order.weights, order.aus), _provenance(order, manifest, config)
    if order.what != "frames":  # action units are not recomputed
        before = {name: value for name, value in before.items() if not name.startswith(AU_PROVENANCE)}
    if changed := differences(before, now):
        more = "more frames" if order.what == "frames" else order.what
        raise ConfigError(f"cannot add {more} to {order.out}: it was built with different versions ({'; '.join(changed)})")
    return now


def _provenance(order: AddOrder, manifest: Manifest, config: BuildConfig) -> dict[str, str]:
    """The provenance of the dataset with the addition."""
    return {**_kept_provenance(order, manifest), **_model_provenance(order, config)}


def _model_provenance(order: AddOrder, config: BuildConfig) -> dict[str, str]:
    """The entries that the addition contributes to the provenance."""
    if order.what == "landmarks":
        return models.provenance(config.landmarks, ModelOptions(config.detector, config.precision, order.weights))
    if order.what == "speech":
        return speech.provenance()
    if order.what == "video":
        return {"x264": encoder_version()}
    if order.what == "identity" or (order.what == "no-identity" and config.one_person):
        return descriptor.provenance()
    return order.aus.provenance() if order.what == "aus" and order.aus else {}


def _kept_provenance(order: AddOrder, manifest: Manifest) -> dict[str, str]:
    """The provenance of the dataset, without replaced action units or dropped face descriptors."""
    replaced = {"aus": AU_PROVENANCE, "no-identity": ("identity_model",)}.get(order.what, ())
    return {name: value for name, value in manifest.provenance.items() if not name.startswith(replaced)}


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
    """Rewrite the remaining units, out of `total` planned clips."""
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
        adding=order.adding,
    )
    run_units(left, total, job, order.runner, quiet=order.quiet)
