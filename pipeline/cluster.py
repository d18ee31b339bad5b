"""The run on a Dask cluster: Beam's DaskRunner with one unit a task, watched by markers and journals on the disk all share.

Dask gives a dead worker's unit to another one, up to four times, and what was in the dead one's hands is then built in a process
of its own (`Journal.left_in_hand`): so a clip that kills its process is rejected on the second attempt, and a worker that was
killed from outside costs no clip. A unit that went through many dying workers fails the job, which is begun again with what
is left.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dask.distributed import Client, KilledWorker, LocalCluster
from distributed.comm.core import CommClosedError

from pipeline.graph import start_graph
from pipeline.journal import FAILURE, finished_clips
from pipeline.markers import Markers
from pipeline.provenance import provenance
from pipeline.shard import BuildJob
from pipeline.supervise import Progress
from schemas.bucket import pull_one
from schemas.errors import BuildFailed, ConfigError, StoreFailed
from schemas.layout import DATASET_JSON, WORK_DIR
from schemas.records import ShardUnit

_POLL_S = 0.5
_PATIENCE_S = 60
# Runs in a row that commit nothing: each takes four workers' lives or a fault of the cluster.
_MOST_IDLE_RUNS = 3


def build_on_dask(
    units: Sequence[ShardUnit], job: BuildJob, scheduler: str | None, workers: int, options: Sequence[str], progress: Progress
) -> None:
    """Build all units on the cluster of `scheduler`, its address or its file; None: on `workers` processes of this machine.

    Raises:
        ConfigError: there is no such scheduler, or its workers cannot do this job
        BuildFailed: a unit failed for another reason than its clips; what is committed stays
    """
    with _cluster(scheduler, workers) as client, _journals(job) as noted:
        _check_workers(client, noted)
        beam = [
            "--runner=apache_beam.runners.dask.dask_runner.DaskRunner",
            f"--dask_client_address={_address(client)}",
            "--dask_partition_size=1",
            *options,
        ]
        idle, markers = 0, Markers(job.out, job.bucket, job.addition)
        while left := markers.left(units):
            if idle > _MOST_IDLE_RUNS:
                raise BuildFailed(f"Dask's workers died in {idle} runs without getting anywhere; their logs say of what")
            _run(units, left, noted, beam, progress)
            idle = idle + 1 if len(markers.left(units)) == len(left) else 0


@contextmanager
def _cluster(scheduler: str | None, workers: int) -> Iterator[Client]:
    """A client of the scheduler that is there, or of one of our own with worker processes on this machine."""
    logging.getLogger("distributed").setLevel(logging.ERROR)  # what matters of it becomes an error of ours
    if scheduler is not None:
        with _client(scheduler) as client:
            yield client
        return
    scratch = tempfile.mkdtemp(prefix="motionshards-")
    try:
        with _local_cluster(workers, scratch) as cluster, Client(cluster) as client:  # type: ignore[no-untyped-call]
            yield client
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _client(scheduler: str) -> Client:
    place = {"address": scheduler} if "://" in scheduler else {"scheduler_file": scheduler}
    if "scheduler_file" in place and not Path(scheduler).is_file():  # Dask would wait for it for ever
        raise ConfigError(f"--dask-scheduler {scheduler}: there is no such file; an address is as tcp://HOST:8786")
    try:
        return Client(**place, timeout=_PATIENCE_S)  # type: ignore[no-untyped-call]
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
    )


def _address(client: Client) -> str:
    return str(client.scheduler_info(n_workers=0)["address"])


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


def _check_workers(client: Client, job: BuildJob) -> None:
    """Raises ConfigError: there are no workers, or one of them would fail, or build other bytes."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE_S)
    except TimeoutError:
        raise ConfigError(f"no worker has joined {_address(client)} within {_PATIENCE_S} s") from None
    threads = {address: worker["nthreads"] for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()}
    for address, count in threads.items():
        if count != 1:
            raise ConfigError(f"worker {address} has {count} threads, and models are for one: dask worker --nthreads 1")
    made_with = provenance(job.config, job.weights, job.aus)
    told = client.run(_what_is_wrong, job, _digest(job), made_with, on_error="return")
    for address, wrong in told.items():
        if wrong and not isinstance(wrong, CommClosedError):  # one that died meanwhile will not build
            raise ConfigError(f"worker {address} cannot do this: {wrong if isinstance(wrong, str) else repr(wrong)}")


def _what_is_wrong(job: BuildJob, digest: str, made_with: dict[str, str]) -> str:
    """Asked of each worker: why it could not build, or would build other bytes; empty where nothing is wrong.

    digest, made_with: of the data set's dataset.json, and what decides its bytes, as the driver sees them
    """
    if isinstance(job.root, Path) and not job.root.exists():
        return f"it does not see --input {job.root}"
    try:
        if _digest(job) != digest:
            return f"its {job.out} is another directory"
    except OSError:
        return f"it does not see --output {job.out}"
    except StoreFailed as error:
        return str(error)
    ours = provenance(job.config, job.weights, job.aus)
    return "; ".join(f"{name} is {ours.get(name)}, not {made}" for name, made in made_with.items() if ours.get(name) != made)


def _digest(job: BuildJob) -> str:
    """sha256 of dataset.json. Raises OSError, StoreFailed."""
    if job.bucket is None:
        return hashlib.sha256((job.out / DATASET_JSON).read_bytes()).hexdigest()
    with tempfile.TemporaryDirectory() as place:
        pull_one(job.bucket, DATASET_JSON, Path(place) / DATASET_JSON)
        return hashlib.sha256((Path(place) / DATASET_JSON).read_bytes()).hexdigest()


def _run(units: Sequence[ShardUnit], left: list[ShardUnit], job: BuildJob, beam: list[str], progress: Progress) -> None:
    """One run over what is left; returns when it is over, also where too many workers died."""
    assert job.journal is not None
    sizes, markers = {unit.name: len(unit) for unit in left}, Markers(job.out, job.bucket, job.addition)
    before = sum(map(len, units)) - sum(sizes.values())
    result: Any = start_graph(left, job, beam)
    try:
        while not all(future.done() for future in result.futures):
            if (job.journal / FAILURE).exists():
                raise BuildFailed((job.journal / FAILURE).read_text().splitlines()[0])
            open_clips = sum(len(unit) for unit in markers.left(left, sure=False))
            progress.update(before + sum(sizes.values()) - open_clips + finished_clips(job.journal))
            time.sleep(_POLL_S)
        _raise_failure(result.futures, job)
    finally:
        if result.client.status == "running":
            result.cancel()
        result.client.close()


def _raise_failure(futures: Sequence[Any], job: BuildJob) -> None:
    """Raises BuildFailed, unless all went well or only workers were killed."""
    for future in futures:
        if future.status == "finished":
            continue
        error = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            continue
        noted = job.journal / FAILURE if job.journal else None
        if noted is not None and noted.exists():
            raise BuildFailed(noted.read_text().splitlines()[0])
        raise BuildFailed(f"Dask's task is {future.status}: {error or 'the scheduler is gone'}")
