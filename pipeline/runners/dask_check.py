"""Check before a build that every Dask worker can build, and would write the same bytes."""

import hashlib
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from dask.distributed import Client
from distributed.comm.core import CommClosedError

from motionshards.pipeline.planning.provenance import provenance
from motionshards.pipeline.shards.build import BuildJob
from motionshards.schemas.bucket import pull_one
from motionshards.schemas.errors import ConfigError, StoreFailed
from motionshards.schemas.layout import DATASET_JSON

RESPONSE_TIMEOUT_S = 60
_MAX_ATTEMPTS = 3


def address_of(client: Client) -> str:
    """The address of the scheduler."""
    return str(client.scheduler_info(n_workers=0)["address"])


def check_workers(client: Client, job: BuildJob, timeout_s: float) -> None:
    """Raise ConfigError if no worker joins within `timeout_s`, or if a worker would fail or write different bytes."""
    expected = provenance(job.config, job.weights, job.aus)
    for _ in range(_MAX_ATTEMPTS):
        _check_threads(client, timeout_s)
        problems = _problems(client, job, _digest(job), expected)
        for address, problem in problems.items():
            if problem:
                raise ConfigError(f"worker {address} cannot build: {problem if isinstance(problem, str) else repr(problem)}")
        if problems:
            return
    raise ConfigError(f"all workers at {address_of(client)} died while they were being checked; see their logs")


def _check_threads(client: Client, timeout_s: float) -> None:
    try:
        client.wait_for_workers(1, timeout=timeout_s)
    except TimeoutError:
        raise ConfigError(f"no worker has joined {address_of(client)} within {timeout_s:g} s (--workers-timeout)") from None
    threads = {address: worker["nthreads"] for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()}
    for address, count in threads.items():
        if count != 1:
            raise ConfigError(f"worker {address} has {count} threads, must have one: start it with dask worker --nthreads 1")


def _problems(client: Client, job: BuildJob, digest: str, expected: dict[str, str]) -> dict[str, Any]:
    """Worker address -> message or exception; an empty message means that the worker can build.

    Workers that have died meanwhile are omitted, since they will not build. `Client.run` also reaches workers that are busy with
    other tasks, but has no time limit, and a stopped worker never responds.
    """
    response: Future[dict[str, Any]] = Future()

    def run() -> None:
        try:
            response.set_result(client.run(_find_problem, job, digest, expected, on_error="return"))
        except BaseException as error:
            response.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        problems = response.result(RESPONSE_TIMEOUT_S)
    except TimeoutError:
        limit = f"within {RESPONSE_TIMEOUT_S} s"
        raise ConfigError(f"a worker at {address_of(client)} has not responded {limit}; it may be stopped") from None
    return {address: problem for address, problem in problems.items() if not isinstance(problem, CommClosedError)}


def _find_problem(job: BuildJob, digest: str, expected: dict[str, str]) -> str:
    """Runs on each worker: why it could not build, or would write different bytes; empty if there is no problem.

    digest, expected: SHA-256 of dataset.json and provenance, as seen by the driver
    """
    if isinstance(job.root, Path) and not job.root.exists():
        return f"--input {job.root} does not exist there"
    try:
        if _digest(job) != digest:
            return f"--output {job.out} is a different directory there"
    except OSError:
        return f"--output {job.out} cannot be read there"
    except StoreFailed as error:
        return str(error)
    found = provenance(job.config, job.weights, job.aus)
    return "; ".join(f"{name} is {found.get(name)}, not {value}" for name, value in expected.items() if found.get(name) != value)


def _digest(job: BuildJob) -> str:
    """SHA-256 of dataset.json, in hexadecimal. Raises OSError, StoreFailed."""
    if job.bucket is None:
        return hashlib.sha256((job.out / DATASET_JSON).read_bytes()).hexdigest()
    with tempfile.TemporaryDirectory() as place:
        pull_one(job.bucket, DATASET_JSON, Path(place) / DATASET_JSON)
        return hashlib.sha256((Path(place) / DATASET_JSON).read_bytes()).hexdigest()
