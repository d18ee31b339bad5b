"""Select the runner: `local` (supervised processes), `dask` (a cluster), `portable` (a Beam job server, for Flink or Spark), or
any runner that Beam knows by name.

Beam and Dask are imported lazily: importing them takes seconds, and the parent of a local run needs neither.
"""

import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from motionshards.pipeline.runners.local import Progress, build_locally
from motionshards.pipeline.shards.build import BuildJob
from motionshards.schemas.errors import BuildFailed, ConfigError
from motionshards.schemas.records import ShardUnit

LOCAL, DASK, PORTABLE = "local", "dask", "portable"
# Dask's nannies restart a worker within seconds; a batch system that starts workers from a queue may take longer.
WORKERS_TIMEOUT_S = 120.0

_CONNECT_TIMEOUT_S = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """A runner and its settings.

    name: `local`, `dask`, `portable`, or the name of a Beam runner
    workers: number of local worker processes, for `local`, and for `dask` without a scheduler
    scheduler: address or scheduler file of a Dask cluster
    workers_timeout_s: how long `dask` waits for a worker while the scheduler has none, at the start and during the build
    endpoint: HOST:PORT of the job server, for `portable`
    options: command line options for Beam

    Raises:
        ConfigError: the settings do not fit together, or Beam does not know an option; for `portable` and Beam's own runners,
            which may have further options, these are not checked
    """

    name: str = LOCAL
    workers: int = 1
    scheduler: str | None = None
    workers_timeout_s: float = WORKERS_TIMEOUT_S
    endpoint: str | None = None
    options: Sequence[str] = ()

    @property
    def is_local(self) -> bool:
        """Whether it runs only on this machine, with `workers` processes."""
        return self.name == LOCAL or (self.name == DASK and self.scheduler is None)

    def __post_init__(self) -> None:
        if self.scheduler is not None and self.name != DASK:
            raise ConfigError(f"--dask-scheduler requires --runner {DASK}, but --runner is {self.name}")
        if (self.endpoint is not None) != (self.name == PORTABLE):
            raise ConfigError(f"--job-endpoint and --runner {PORTABLE} must be used together")
        if self.name not in (LOCAL, DASK) or not self.options:
            return
        if unknown := unknown_to_beam(self.options):
            raise ConfigError(f"unknown option {', '.join(unknown)} (not an option of Apache Beam)")


def unknown_to_beam(options: Sequence[str]) -> list[str]:
    """List the options that Apache Beam does not know, and a leading word that belongs to no option."""
    stray = [option for option in options[:1] if not option.startswith("-")]
    logging.disable(logging.WARNING)  # Beam warns about missing optional packages and unknown options
    try:
        from apache_beam.options.pipeline_options import PipelineOptions

        known = PipelineOptions(list(options)).get_all_options()
        passed = PipelineOptions(list(options)).get_all_options(retain_unknown_options=True)
    finally:
        logging.disable(logging.NOTSET)
    return stray + [f"--{name}" for name in passed if name not in known]


def run(units: Sequence[ShardUnit], job: BuildJob, runner: Runner, progress: Progress) -> None:
    """Build all units on the runner; returns once they are committed.

    Raises:
        ConfigError: the runner cannot be used; nothing has been built
        BuildFailed: the run stopped; committed units are kept
    """
    if runner.name == LOCAL:
        build_locally(units, job, runner.workers, runner.options, progress)
    elif runner.name == DASK:
        from motionshards.pipeline.runners.dask import Cluster, build_on_dask

        cluster = Cluster(runner.scheduler, runner.workers, runner.workers_timeout_s)
        build_on_dask(units, job, cluster, runner.options, progress)
    else:
        _run_on_beam(units, job, runner)


def _run_on_beam(units: Sequence[ShardUnit], job: BuildJob, runner: Runner) -> None:
    from motionshards.pipeline.runners.graph import run_graph

    target = [f"--runner={runner.name}"]
    if runner.endpoint is not None:
        _require_server(runner.endpoint)
        target = ["--runner=PortableRunner", f"--job_endpoint={runner.endpoint}"]
    try:
        run_graph(units, job, [*target, *runner.options])
    except Exception as error:  # runners raise any type; the traceback shows the cause
        first = next(iter(str(error).splitlines()), "")
        raise BuildFailed(f"runner {runner.name} failed: {type(error).__name__}: {first}") from error


def _require_server(endpoint: str) -> None:
    """Raise ConfigError if nothing listens at the endpoint, where Beam would wait forever."""
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(f"--job-endpoint {endpoint}: no job server can be reached ({error})") from error
