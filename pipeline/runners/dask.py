"""The run on a Dask cluster: Beam's DaskRunner with one unit a task, watched by markers and journals on the disk all share.

Dask gives a dead worker's unit to another one, up to four times, and what was in the dead one's hands is then built in a process
of its own (`Journal.left_in_hand`): so a clip that kills its process is rejected on the second attempt, and a worker that was
killed from outside costs no clip. A unit that went through many dying workers fails the job, which is begun again with what
is left.
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

from motionshards.pipeline.runners.dask_check import PATIENCE_S, address_of, check_workers
from motionshards.pipeline.runners.graph import start_graph
from motionshards.pipeline.runners.local import Progress
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.shards.journal import failure, finished_clips
from motionshards.pipeline.shards.markers import Markers
from motionshards.schemas.errors import BuildFailed, ConfigError
from motionshards.schemas.layout import WORK_DIR
from motionshards.schemas.records import ShardUnit

_POLL_S = 0.5
_COUNTED_EVERY_S = 5.0
# Runs in a row that commit nothing: each takes four workers' lives or a fault of the cluster.
_MOST_IDLE_RUNS = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where tasks run.

    scheduler: its address or its file; None starts a cluster of `workers` processes on this machine
    timeout_s: how long to wait while the scheduler has no worker
    """

    scheduler: str | None
    workers: int
    timeout_s: float


def build_on_dask(
    units: Sequence[ShardUnit], job: BuildJob, cluster: Cluster, options: Sequence[str], progress: Progress
) -> None:
    """Build all units on the cluster.

    Raises:
        ConfigError: there is no such scheduler, or its workers cannot do this job
        BuildFailed: a unit failed for another reason than its clips; what is committed stays
    """
    with _connected(cluster) as client, _journals(job) as noted:
        check_workers(client, noted, cluster.timeout_s)
        beam = [
            "--runner=apache_beam.runners.dask.dask_runner.DaskRunner",
            f"--dask_client_address={address_of(client)}",
            "--dask_partition_size=1",
            *options,
        ]
        idle, markers = 0, Markers(job.out, job.bucket, job.addition)
        while left := markers.left(units):
            if idle > _MOST_IDLE_RUNS:
                raise BuildFailed(f"Dask's workers died in {idle} runs without getting anywhere; their logs say of what")
            _run(units, left, noted, beam, progress, cluster.timeout_s)
            idle = idle + 1 if len(markers.left(units)) == len(left) else 0


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Client]:
    """A client of the given scheduler, or of a new one with worker processes on this machine."""
    for name in ("distributed", "distributed.client", "tornado.application"):  # what matters of it becomes an error of ours
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
    place = {"address": scheduler} if "://" in scheduler else {"scheduler_file": scheduler}
    if "scheduler_file" in place and not Path(scheduler).is_file():  # Dask would wait for it for ever
        raise ConfigError(f"--dask-scheduler {scheduler}: there is no such file; an address is as tcp://HOST:8786")
    try:
        return Client(**place, timeout=PATIENCE_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        why = str(error) or type(error).__name__
        raise ConfigError(f"--dask-scheduler {scheduler}: there is no scheduler ({why})") from error


def _local_cluster(workers: int, scratch: str) -> LocalCluster:
    """Memory is the kernel's concern: Dask would pause and kill workers by limits of its own."""
    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",  # None would still open the usual port
        scheduler_kwargs={"dashboard": False},
        local_directory=scratch,
        env={"MALLOC_ARENA_MAX": "2", "TMPDIR": scratch},
        preload=["motionshards.pipeline.runners.graph"],  # which quiets what Beam's import says of packages that nobody asked for
    )


@contextmanager
def _journals(job: BuildJob) -> Iterator[BuildJob]:
    """The job with a directory for its journals. Without it units that still run stop at their next clip.

    It lies on the disk that all share, or where the output is a bucket, on each machine.
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
    """One run over what is left; returns when it is over, also where too many workers died."""
    assert job.journal is not None
    sizes, markers = {unit.name: len(unit) for unit in left}, Markers(job.out, job.bucket, job.addition)
    before = sum(map(len, units)) - sum(sizes.values())
    result: Any = start_graph(left, job, beam)
    deserted = _Deserted(result.client, timeout_s)
    try:
        while not all(future.done() for future in result.futures):
            deserted.check()
            if noted := failure(job.journal):
                raise BuildFailed(noted)
            open_clips = sum(len(unit) for unit in markers.left(left, sure=False))
            progress.update(before + sum(sizes.values()) - open_clips + finished_clips(job.journal))
            time.sleep(_POLL_S)
        _raise_failure(result.futures, job)
    finally:
        if result.client.status == "running":
            result.cancel()
        result.client.close()


class _Deserted:
    """Ends a run for which no worker is left: Dask would wait forever, without a message."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self._client, self._timeout_s = client, timeout_s
        self._seen = self._asked = time.monotonic()

    def check(self) -> None:
        """Raises BuildFailed: the scheduler has had no worker for a while."""
        now = time.monotonic()
        if now - self._asked < _COUNTED_EVERY_S or self._client.status != "running":
            return  # without a scheduler the tasks end, and tell
        self._asked = now
        try:
            if self._client.scheduler_info(n_workers=1)["workers"]:
                self._seen = now
        except OSError:  # it went just now
            return
        if now - self._seen > self._timeout_s:
            where = address_of(self._client)
            raise BuildFailed(f"no worker has been left at {where} for {self._timeout_s:g} s (--workers-timeout); start some")


def _raise_failure(futures: Sequence[Any], job: BuildJob) -> None:
    """Raises BuildFailed, unless all went well or only workers were killed."""
    for future in futures:
        if future.status == "finished":
            continue
        error = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            continue
        if job.journal and (noted := failure(job.journal)):
            raise BuildFailed(noted)
        raise BuildFailed(f"Dask's task is {future.status}: {error or 'the scheduler is gone'}")
