"""Extrapolate yield, disk space and time from the outcomes of a sample; results are JSON values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from motionshards.pipeline.estimate import estimator
from motionshards.pipeline.estimate.estimator import F64, Interval, Sample
from motionshards.pipeline.runners.choose import Runner
from motionshards.schemas.layout import planned_key
from motionshards.schemas.tables import INDEX, MARKER

_WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_BLOCK_BYTES = 512
# Overhead of a tar: two empty blocks at its end, and up to 18 more to fill the last record of 20 blocks.
_TAR_END_BYTES, _TAR_FILL_BYTES = 2 * _BLOCK_BYTES, 9 * _BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of the sampled clips, in the order of the sample.

    samples: float64 [n], number of dataset samples from each clip: 0 or 1, or the number of its tubes
    bytes: float64 [n], their size in a tar
    reasons: reason -> bool [n], whether the clip or one of its tubes was rejected for it
    markers: the marker rows of the clips
    """

    samples: F64
    bytes: F64
    reasons: dict[str, NDArray[np.bool_]]
    markers: pa.Table

    @classmethod
    def of(cls, markers: pa.Table, keys: list[str], sample: Sample) -> "Outcomes":
        """Collect the outcomes from marker rows; `keys` are those of the planned clips, in the order of the sample."""
        row = {key: number for number, key in enumerate(keys)}
        samples, bytes_ = np.zeros(len(sample.rows)), np.zeros(len(sample.rows))
        reasons: dict[str, NDArray[np.bool_]] = {}
        for outcome in markers.select(["key", "kept", "reason", "members"]).to_pylist():
            clip = row[planned_key(outcome["key"])]
            if outcome["kept"]:
                samples[clip] += 1
                bytes_[clip] += sum(_BLOCK_BYTES * (1 - -member["size"] // _BLOCK_BYTES) for member in outcome["members"])
            else:
                reasons.setdefault(outcome["reason"], np.zeros(len(samples), np.bool_))[clip] = True
        return cls(samples, bytes_, reasons, markers)


@dataclass(frozen=True, slots=True)
class Run:
    """Timing of the sample's build.

    seconds: total wall time, including start-up
    start_s: seconds until the first clip was done; None if not measured, in which case `clip_s` includes start-up
    clip_s: wall seconds per clip, with all workers together
    cpu_s: CPU seconds per clip; None if not measured
    """

    seconds: float
    start_s: float | None
    clip_s: Interval
    cpu_s: float | None


def expected_yield(outcomes: Outcomes, sample: Sample) -> dict[str, Any]:
    """Estimated number of kept clips, and rejections by reason."""
    clips = int(sample.sizes.sum())
    share = estimator.proportion(outcomes.samples > 0, sample)
    tubes = bool((outcomes.samples > 1).any())
    samples = estimator.total_mean(outcomes.samples, outcomes.samples > 0, sample) if tubes else share
    rejected = {
        reason: {"seen": int(hit.sum()), "share": (of_all := estimator.proportion(hit, sample)).to_json()}
        | {"clips": of_all.times(clips).to_json()}
        for reason, hit in sorted(outcomes.reasons.items(), key=lambda item: -int(item[1].sum()))
    }
    return {
        "share": share.to_json(),
        "clips": share.times(clips).to_json(),
        "samples": samples.times(clips).to_json(),
        "rejected": rejected,
        "unseen_share": estimator.unseen(sample),
    }


def expected_disk(outcomes: Outcomes, sample: Sample, shards: int, plan_bytes: int, workers: int) -> dict[str, Any]:
    """Estimated bytes of the tars, of index, markers and plan, and of unfinished shards during the build."""
    clips = int(sample.sizes.sum())
    clip_bytes = estimator.total_mean(outcomes.bytes, outcomes.samples > 0, sample)
    tars = clip_bytes.times(clips, plus=shards * (_TAR_END_BYTES + _TAR_FILL_BYTES)).wider(shards * _TAR_FILL_BYTES)
    each, fixed = _table_bytes(outcomes.markers.select(MARKER.names))
    index = _table_bytes(outcomes.markers.filter(outcomes.markers["kept"]).select(INDEX.names))[0]
    tables = clips * each + shards * fixed + clips * index * float((outcomes.samples > 0) @ sample.weights)
    return {
        "shards": tars.to_json(),
        "tables": round(tables + plan_bytes),
        "total": tars.times(1.0, plus=tables + plan_bytes).to_json(),
        "unfinished": round(min(workers, shards) * clip_bytes.value * clips / shards),
    }


def _table_bytes(rows: pa.Table) -> tuple[float, float]:
    """Bytes per row and per file, extrapolated from files with all rows and with half of them."""
    half = len(rows) // 2
    if not half:
        return 0.0, 0.0
    all_, some = (_parquet_bytes(rows.slice(0, count)) for count in (len(rows), half))
    each = max(0.0, (all_ - some) / (len(rows) - half))
    return each, max(0.0, all_ - each * len(rows))


def _parquet_bytes(rows: pa.Table) -> int:
    sink = pa.BufferOutputStream()
    pq.write_table(rows.combine_chunks(), sink, compression="zstd")
    return int(sink.getvalue().size)


def expected_time(run: Run, planning_s: float, clips: int, shards: int, runner: Runner, gpus: int) -> dict[str, Any]:
    """Estimated hours by number of workers, at most one per shard. GPU-hours count all allocated GPUs, busy or not.

    Planning and start-up are counted once. The number of a cluster's workers is unknown, so `hours_by_workers` is None there.
    """
    once_s = planning_s + (run.start_s or 0.0)
    hours = run.clip_s.times(clips / 3600, plus=once_s / 3600)
    workers = runner.workers if runner.is_local else None
    used_gpus = min(gpus, workers or gpus)
    return {
        "planning_s": planning_s,
        "start_s": run.start_s,
        "sample_s": run.seconds,
        "clip_s": run.clip_s.to_json(),
        "hours": hours.to_json(),
        "workers": workers,
        "hours_by_workers": _by_workers(run.clip_s.times(clips / 3600), once_s / 3600, workers, shards) if workers else None,
        "core_hours": None if run.cpu_s is None else run.cpu_s * clips / 3600,
        "gpus": used_gpus,
        "gpu_hours": hours.times(used_gpus).to_json() if used_gpus else None,
    }


def _by_workers(hours: Interval, once: float, workers: int, shards: int) -> dict[str, Any]:
    """Hours with other numbers of workers, assuming that each is as fast as those measured."""
    numbers = sorted({*(n for n in _WORKERS if n <= shards), workers})
    return {str(n): hours.times(workers / n, plus=once).to_json() for n in numbers}
