"""From what became of a sample, and how long that took, to what all clips will give and take; plain values for JSON."""

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
# What a tar has besides its members: two empty blocks, and then up to 18 that fill its last record of 20.
_TAR_END_BYTES, _TAR_FILL_BYTES = 2 * _BLOCK_BYTES, 9 * _BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of the clips of a sample, in its order.

    samples: float64 [n], how many samples of the dataset each gave: 0 or 1, or the number of its tubes
    bytes: float64 [n], the room they take in a tar
    reasons: reason -> bool [n], whether anything of a clip was rejected for it
    markers: the rows that tell it
    """

    samples: F64
    bytes: F64
    reasons: dict[str, NDArray[np.bool_]]
    markers: pa.Table

    @classmethod
    def of(cls, markers: pa.Table, keys: list[str], sample: Sample) -> "Outcomes":
        """From the rows of the markers; `keys` of the clips as planned, in the order of the sample."""
        row = {key: number for number, key in enumerate(keys)}
        samples, bytes_ = np.zeros(len(sample.rows)), np.zeros(len(sample.rows))
        reasons: dict[str, NDArray[np.bool_]] = {}
        for told in markers.select(["key", "kept", "reason", "members"]).to_pylist():
            clip = row[planned_key(told["key"])]
            if told["kept"]:
                samples[clip] += 1
                bytes_[clip] += sum(_BLOCK_BYTES * (1 - -member["size"] // _BLOCK_BYTES) for member in told["members"])
            else:
                reasons.setdefault(told["reason"], np.zeros(len(samples), np.bool_))[clip] = True
        return cls(samples, bytes_, reasons, markers)


@dataclass(frozen=True, slots=True)
class Run:
    """How long building the sample took.

    seconds: all of it, with the start
    start_s: until the first clips were done; None where that was not seen, and `a_clip` has it in it
    a_clip: seconds of one clip, by all workers together
    cpu_s: CPU seconds of one clip, None where they were not seen
    """

    seconds: float
    start_s: float | None
    a_clip: Interval
    cpu_s: float | None


def expected_yield(outcomes: Outcomes, sample: Sample) -> dict[str, Any]:
    """How many clips will be kept, and why others will not."""
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
    """Bytes: of the tars, of index and markers, and what is there besides while workers write."""
    clips = int(sample.sizes.sum())
    a_clip = estimator.total_mean(outcomes.bytes, outcomes.samples > 0, sample)
    tars = a_clip.times(clips, plus=shards * (_TAR_END_BYTES + _TAR_FILL_BYTES)).wider(shards * _TAR_FILL_BYTES)
    each, fixed = _table_bytes(outcomes.markers.select(MARKER.names))
    index = _table_bytes(outcomes.markers.filter(outcomes.markers["kept"]).select(INDEX.names))[0]
    tables = clips * each + shards * fixed + clips * index * float((outcomes.samples > 0) @ sample.weights)
    return {
        "shards": tars.to_json(),
        "tables": round(tables + plan_bytes),
        "total": tars.times(1.0, plus=tables + plan_bytes).to_json(),
        "unfinished": round(min(workers, shards) * a_clip.value * clips / shards),
    }


def _table_bytes(rows: pa.Table) -> tuple[float, float]:
    """Bytes of a row and of a file without rows, from files with all rows and with half of them."""
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


def expected_time(run: Run, planning_s: float, clips: int, runner: Runner, gpus: int) -> dict[str, Any]:
    """Hours, and of how many workers; GPU-hours count the GPUs that are taken, busy or not.

    Planning and the start are counted once. How many workers a cluster has is not known, so there are no hours of others.
    """
    once_s = planning_s + (run.start_s or 0.0)
    hours = run.a_clip.times(clips / 3600, plus=once_s / 3600)
    workers = runner.workers if runner.is_here else None
    taken = min(gpus, workers or gpus)
    return {
        "planning_s": planning_s,
        "start_s": run.start_s,
        "sample_s": run.seconds,
        "clip_s": run.a_clip.to_json(),
        "hours": hours.to_json(),
        "workers": workers,
        "hours_by_workers": _by_workers(run.a_clip.times(clips / 3600), once_s / 3600, workers) if workers else None,
        "core_hours": None if run.cpu_s is None else run.cpu_s * clips / 3600,
        "gpus": taken,
        "gpu_hours": hours.times(taken).to_json() if taken else None,
    }


def _by_workers(hours: Interval, once: float, workers: int) -> dict[str, Any]:
    """Hours of other numbers of workers, each as fast as one here was."""
    return {str(n): hours.times(workers / n, plus=once).to_json() for n in sorted({*_WORKERS, workers})}
