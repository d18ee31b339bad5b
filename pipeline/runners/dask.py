"""Dask runner: Beam's DaskRunner with one unit per task, monitored through markers and journals on shared storage.

Dask reassigns the unit of a dead worker up to four times. The next worker builds the clips that were in flight on the dead one
in an isolated process (`Journal.in_flight_elsewhere`), so a clip that kills its process is rejected on the second attempt, and an
external kill costs no clip. A unit that has lost too many workers fails the Dask job, which is restarted with the remaining
units.
"""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dask.distributed import Client, KilledWorker, LocalCluster

from motionshards.pipeline.runners.dask_check import RESPONSE_TIMEOUT_S, address_of, check_workers
from motionshards.pipeline.runners.graph import start_graph
from motionshards.pipeline.runners.local import Progress
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.shards.journal import failure, finished_clips
from motionshards.pipeline.shards.markers import Markers
from motionshards.schemas.errors import BuildFailed, ConfigError
from motionshards.schemas.layout import WORK_DIR
from motionshards.schemas.records import ShardUnit

_POLL_S = 0.5
_WORKERS_CHECK_EVERY_S = 5.0
# Consecutive runs without a committed unit; each means that four workers have died, or that the cluster has failed.
_MAX_IDLE_RUNS = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """An existing Dask cluster, or a temporary one on this machine.

    scheduler: address or scheduler file; None starts a cluster of `workers` processes on this machine
    timeout_s: how long to wait for a worker while the scheduler has none
    """

    scheduler: str | None
    workers: int
    timeout_s: float


def build_on_dask(
    units: Sequence[ShardUnit], job: BuildJob, cluster: Cluster, options: Sequence[str], progress: Progress
) -> None:
    """Build all units on the cluster.

    Raises:
        ConfigError: the scheduler cannot be reached, or a worker cannot run this job
        BuildFailed: a unit failed for a reason other than its clips; committed units are kept
    """
    with _connected(cluster) as client, _with_journal(job) as job:
        check_workers(client, job, cluster.timeout_s)
        beam = [
            "--runner=apache_beam.runners.dask.dask_runner.DaskRunner",
            f"--dask_client_address={address_of(client)}",
            "--dask_partition_size=1",
            *options,
        ]
        idle, markers = 0, Markers(job.out, job.bucket, job.addition)
        while left := markers.left(units):
            if idle > _MAX_IDLE_RUNS:
                raise BuildFailed(f"workers died in {idle} runs without making progress; see the logs of Dask's workers")
            _run(units, left, job, beam, progress, cluster.timeout_s)
            idle = idle + 1 if len(markers.left(units)) == len(left) else 0


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Client]:
    """Connect to the given scheduler, or to a new one with worker processes on this machine."""
    for name in ("distributed", "distributed.client", "tornado.application"):  # we report relevant failures ourselves
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if cluster.scheduler is not None:
        with _client(cluster.scheduler) as client:
            yield client
        return
    scratch = tempfile.mkdtemp(prefix="motionshards-")
    try:
        with _local_cluster(cluster.workers, scratch) as here, Client(here) as client:  # type: ignore[no-untyped-call]
            yield client
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _client(scheduler: str) -> Client:
    where = {"address": scheduler} if "://" in scheduler else {"scheduler_file": scheduler}
    if "scheduler_file" in where and not Path(scheduler).is_file():  # Dask would wait for the file forever
        raise ConfigError(f"--dask-scheduler {scheduler} is neither a file nor an address such as tcp://HOST:8786")
    try:
        return Client(**where, timeout=RESPONSE_TIMEOUT_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        why = str(error) or type(error).__name__
        raise ConfigError(f"--dask-scheduler {scheduler}: no scheduler can be reached ({why})") from error


def _local_cluster(workers: int, scratch: str) -> LocalCluster:
    """Start a cluster without Dask's memory limits, which would pause and kill workers; the kernel handles low memory."""
    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",  # None would still open the default port
        scheduler_kwargs={"dashboard": False},
        local_directory=scratch,
        env={"MALLOC_ARENA_MAX": "2", "TMPDIR": scratch},
        preload=["motionshards.pipeline.runners.graph"],  # suppresses Beam's warnings about missing optional packages
    )


@contextmanager
def _with_journal(job: BuildJob) -> Iterator[BuildJob]:
    """Create a directory for journals, on shared storage or, if the output is a bucket, on each machine.

    Deleting it at the end stops units that are still running at their next clip.
    """
    work = Path(tempfile.gettempdir()) / f"motionshards-run-{job.run}" if job.bucket else job.out / WORK_DIR
    journal = work / f"journal-{os.getpid()}"
    journal.mkdir(parents=True)
    try:
        yield replace(job, journal=journal)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(
    units: Sequence[ShardUnit], left: list[ShardUnit], job: BuildJob, beam: list[str], progress: Progress, timeout_s: float
) -> None:
    """Run the remaining units once; also returns if too many workers died."""
    assert job.journal is not None
    sizes, markers = {unit.name: len(unit) for unit in left}, Markers(job.out, job.bucket, job.addition)
    before = sum(map(len, units)) - sum(sizes.values())
    result: Any = start_graph(left, job, beam)
    watch = _WorkerWatch(result.client, timeout_s)
    try:
        while not all(future.done() for future in result.futures):
            watch.check()
            if message := failure(job.journal):
                raise BuildFailed(message)
            open_clips = sum(len(unit) for unit in markers.left(left, sure=False))
            progress.update(before + sum(sizes.values()) - open_clips + finished_clips(job.journal))
            time.sleep(_POLL_S)
        _raise_failure(result.futures, job)
    finally:
        if result.client.status == "running":
            result.cancel()
        result.client.close()


class _WorkerWatch:
    """Detects that a scheduler has lost all workers, in which case Dask would silently wait forever."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self._client, self._timeout_s = client, timeout_s
        self._last_seen = self._last_check = time.monotonic()

    def check(self) -> None:
        """Raise BuildFailed if the scheduler has had no worker for longer than the timeout."""
        now = time.monotonic()
        if now - self._last_check < _WORKERS_CHECK_EVERY_S or self._client.status != "running":
            return  # without a scheduler, the tasks fail, which is reported
        self._last_check = now
        try:
            if self._client.scheduler_info(n_workers=1)["workers"]:
                self._last_seen = now
        except OSError:  # the scheduler has just disappeared
            return
        if now - self._last_seen > self._timeout_s:
            scheduler, timeout = address_of(self._client), f"{self._timeout_s:g} s (--workers-timeout)"
            raise BuildFailed(f"the scheduler at {scheduler} has had no workers for {timeout}; start workers")


def _raise_failure(futures: Sequence[Any], job: BuildJob) -> None:
    """Raise BuildFailed if a task failed for a reason other than killed workers."""
    for future in futures:
        if future.status == "finished":
            continue
        error = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            continue
        if job.journal and (message := failure(job.journal)):
            raise BuildFailed(message)
        reason = error or "the scheduler can no longer be reached"
        raise BuildFailed(f"a Dask task ended with status {future.status!r}: {reason}")
