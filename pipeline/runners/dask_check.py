"""Asking Dask's workers, before anything is built, whether each can build, and would build the same bytes."""

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

PATIENCE_S = 60
_MOST_ASKED = 3


def address_of(client: Client) -> str:
    """The address of the scheduler."""
    return str(client.scheduler_info(n_workers=0)["address"])


def check_workers(client: Client, job: BuildJob, timeout_s: float) -> None:
    """Raises ConfigError: no worker joins within `timeout_s`, or one of them would fail, or build other bytes."""
    made_with = provenance(job.config, job.weights, job.aus)
    for _ in range(_MOST_ASKED):
        _check_threads(client, timeout_s)
        told = _answers(client, job, _digest(job), made_with)
        for address, wrong in told.items():
            if wrong:
                raise ConfigError(f"worker {address} cannot do this: {wrong if isinstance(wrong, str) else repr(wrong)}")
        if told:
            return
    raise ConfigError(f"the workers at {address_of(client)} die when they are asked what they can do; their logs say of what")


def _check_threads(client: Client, timeout_s: float) -> None:
    try:
        client.wait_for_workers(1, timeout=timeout_s)
    except TimeoutError:
        raise ConfigError(f"no worker has joined {address_of(client)} within {timeout_s:g} s (--workers-timeout)") from None
    threads = {address: worker["nthreads"] for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()}
    for address, count in threads.items():
        if count != 1:
            raise ConfigError(f"worker {address} has {count} threads, and models are for one: dask worker --nthreads 1")


def _answers(client: Client, job: BuildJob, digest: str, made_with: dict[str, str]) -> dict[str, Any]:
    """What each worker says, by address: words or an exception. Those that died meanwhile are left out: they will not build.

    `run` reaches workers that are busy with others' tasks, too, but it has no time limit, and one that is stopped never answers.
    """
    told: Future[dict[str, Any]] = Future()

    def ask() -> None:
        try:
            told.set_result(client.run(_what_is_wrong, job, digest, made_with, on_error="return"))
        except BaseException as error:
            told.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answers = told.result(PATIENCE_S)
    except TimeoutError:
        raise ConfigError(f"a worker at {address_of(client)} has not answered within {PATIENCE_S} s: is one stopped?") from None
    return {address: wrong for address, wrong in answers.items() if not isinstance(wrong, CommClosedError)}


def _what_is_wrong(job: BuildJob, digest: str, made_with: dict[str, str]) -> str:
    """Asked of each worker: why it could not build, or would build other bytes; empty where nothing is wrong.

    digest, made_with: of the dataset's dataset.json, and what decides its bytes, as the driver sees them
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
