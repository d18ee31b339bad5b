"""Build into object stores: workers build shards on local disk and upload them; the driver mirrors all small files.

The driver works in a temporary directory as if the dataset were there. It uploads the plan before work begins, downloads
markers as they are committed, and uploads index, ledger and card at the end, dataset.json last. A worker builds a unit in a
temporary directory, uploads the tar, and then creates the marker: a shard is complete or absent, as on disk, and a second
commit of the same unit has no effect.
"""

import functools
import os
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path

from motionshards.pipeline.planning.plan import plan_files
from motionshards.pipeline.shards.build import BuildJob, build_shard
from motionshards.schemas.bucket import Bucket, open_bucket, pull, pull_one
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import (
    CARD,
    CROISSANT,
    DATASET_JSON,
    INDEX,
    LOCK,
    PLAN_DIR,
    REJECTIONS,
    marker_path,
    plan_path,
    tar_path,
)
from motionshards.schemas.records import ShardUnit


@contextmanager
def mirrored(url: str) -> Iterator[tuple[Path, Bucket]]:
    """Mirror the small files of the dataset at a URL in a temporary directory, and hold the dataset's lock.

    Raises:
        ConfigError: the URL cannot be used, another build is writing there, or it contains unrelated objects
    """
    bucket = open_bucket(url)
    with tempfile.TemporaryDirectory(prefix="motionshards-mirror-") as place, _only_writer(bucket, Path(place)):
        out = Path(place) / "data"
        out.mkdir()
        if bucket.exists(DATASET_JSON):
            pull(bucket, out, [DATASET_JSON, *_plan_names(bucket)])
            if bucket.exists(REJECTIONS):
                pull(bucket, out, [REJECTIONS])
        elif foreign := [name for name in bucket.names() if not name.startswith(LOCK)]:
            raise ConfigError(f"--output {url} is not empty and holds no dataset (found {min(foreign)!r})")
        yield out, bucket


def _plan_names(bucket: Bucket) -> list[str]:
    """Names of all plan files, probed by number: a file missing from a stale listing would be planned again and replaced."""
    names = (plan_path(Path(), number).as_posix() for number in count())
    return list(takewhile(bucket.exists, names))


def publish_plan(bucket: Bucket, out: Path) -> None:
    """Upload what workers need: the plan, and dataset.json, which marks the dataset as unfinished."""
    there = _plan_names(bucket)
    for path in plan_files(out):
        if (name := f"{PLAN_DIR}/{path.name}") not in there:
            bucket.put(path, name)
    bucket.put(out / DATASET_JSON, DATASET_JSON)


def publish_result(bucket: Bucket, out: Path) -> None:
    """Upload the files written by `finalize`, dataset.json last."""
    for name in (INDEX, REJECTIONS, CARD, CROISSANT, DATASET_JSON):
        bucket.put(out / name, name)


def build_into_bucket(unit: ShardUnit, job: BuildJob) -> ShardUnit:
    """Build and commit one unit; returns immediately if it is already committed.

    Raises StoreFailed and the errors of `build_shard`.
    """
    bucket = job.bucket
    assert bucket is not None
    name = f"{unit.split}/{unit.name}"
    if job.journal is not None:
        job.journal.mkdir(parents=True, exist_ok=True)  # the worker may be on another machine than the driver
    if bucket.exists(f"{name}.parquet"):
        return unit
    with tempfile.TemporaryDirectory(prefix="unit-", dir=job.scratch) as place:
        out = Path(place)
        (out / PLAN_DIR).mkdir()
        (out / PLAN_DIR / unit.plan).symlink_to(_plan_file(bucket.url, unit.plan, job.run))
        build_shard(unit, replace(job, out=out))
        if (tar := tar_path(out, unit.split, unit.name)).exists():
            bucket.put(tar, f"{name}.tar")
        bucket.create(marker_path(out, unit.split, unit.name), f"{name}.parquet")
    return unit


@functools.lru_cache(maxsize=2)
def _plans(url: str, run: str) -> "tempfile.TemporaryDirectory[str]":
    """The directory in which this process caches the plan files of one run; deleted when the process exits."""
    del url, run
    return tempfile.TemporaryDirectory(prefix="motionshards-plan-")


def _plan_file(url: str, plan: str, run: str) -> Path:
    """Path of a local copy of a plan file, downloaded once per process and run."""
    path = Path(_plans(url, run).name) / plan
    if not path.exists():
        pull_one(open_bucket(url), f"{PLAN_DIR}/{plan}", path)
    return path


@contextmanager
def _only_writer(bucket: Bucket, place: Path) -> Iterator[None]:
    """Hold the lock of a bucket, an object that names its owner. Takes over the lock of a dead process of this machine."""
    _check_create(bucket, place)
    lock = place / LOCK
    # the second line distinguishes processes with the same id in containers that share a host name
    lock.write_text(f"process {os.getpid()} on {socket.gethostname()}\n{uuid.uuid4().hex}\n")
    if not bucket.create(lock, LOCK):
        owner = _owner(bucket, place)
        if not _is_gone(owner):
            raise ConfigError(
                f"another build is writing to {bucket.url} ({owner}); if that process is gone, delete {bucket.url}/{LOCK}"
            )
        bucket.put(lock, LOCK)
    try:
        yield
    finally:
        bucket.delete(LOCK)


def _owner(bucket: Bucket, place: Path) -> str:
    try:
        bucket.get(LOCK, place / "owner")
    except FileNotFoundError:
        return "which has just ended"
    return (place / "owner").read_text().partition("\n")[0].strip()


def _check_create(bucket: Bucket, place: Path) -> None:
    """Create an object twice, since a store without conditional writes silently ignores the condition. Raises ConfigError."""
    name = f"{LOCK}-{uuid.uuid4().hex}"
    for attempt in ("first", "second"):
        (place / attempt).write_text(attempt)
    bucket.create(place / "first", name)
    try:
        exclusive = not bucket.create(place / "second", name)
    finally:
        bucket.delete(name)
    if not exclusive:
        raise ConfigError(
            f"{bucket.url}: the store ignores the condition 'create only if absent', so two builds could overwrite each other's "
            "shards; update the store or the package that accesses it, or build on a disk and copy the dataset"
        )


def _is_gone(owner: str) -> bool:
    """Whether the owner is a process of this machine that no longer runs."""
    words = owner.split()
    if len(words) != 4 or words[3] != socket.gethostname() or not words[1].isdigit():
        return False
    return not Path(f"/proc/{words[1]}").exists()
