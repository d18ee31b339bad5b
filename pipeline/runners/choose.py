"""Where the graph runs: `local` is supervised processes of this machine, `dask` a cluster, `portable` whatever a job server of
Beam leads to (Flink, Spark, ...), and any other name is Beam's.

Beam and Dask are imported where they are used: that takes seconds, and the parent of a local run never needs them.
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
# Dask's nannies restart a worker in seconds; a batch system that starts workers from a queue may need longer.
WORKERS_TIMEOUT_S = 120.0

_PATIENCE_S = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """Where to run.

    name: `local`, `dask`, `portable`, or that of a Beam runner
    workers: processes of this machine, for `local`, and for `dask` without a scheduler
    scheduler: address or file of Dask's scheduler
    workers_timeout_s: for how long `dask` waits while the scheduler has no worker, at the start and during the build
    endpoint: HOST:PORT of the job server, for `portable`
    options: Beam's own

    Raises:
        ConfigError: they do not fit together, or Beam does not know an option; runners that are not ours may take others
    """

    name: str = LOCAL
    workers: int = 1
    scheduler: str | None = None
    workers_timeout_s: float = WORKERS_TIMEOUT_S
    endpoint: str | None = None
    options: Sequence[str] = ()

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine alone, with `workers` processes."""
        return self.name == LOCAL or (self.name == DASK and self.scheduler is None)

    def __post_init__(self) -> None:
        if self.scheduler is not None and self.name != DASK:
            raise ConfigError(f"--dask-scheduler goes with --runner {DASK}, not {self.name}")
        if (self.endpoint is not None) != (self.name == PORTABLE):
            raise ConfigError(f"--job-endpoint and --runner {PORTABLE} go together")
        if self.name not in (LOCAL, DASK) or not self.options:
            return
        if unknown := unknown_to_beam(self.options):
            raise ConfigError(f"unknown option {', '.join(unknown)} (not an option of Apache Beam)")


def unknown_to_beam(options: Sequence[str]) -> list[str]:
    """The options that Apache Beam does not know, and a word at the start that belongs to no option."""
    stray = [option for option in options[:1] if not option.startswith("-")]
    logging.disable(logging.WARNING)  # Beam warns of packages that are missing, and of what is found out here
    try:
        from apache_beam.options.pipeline_options import PipelineOptions

        known = PipelineOptions(list(options)).get_all_options()
        everything = PipelineOptions(list(options)).get_all_options(retain_unknown_options=True)
    finally:
        logging.disable(logging.NOTSET)
    return stray + [f"--{name}" for name in everything if name not in known]


def run(units: Sequence[ShardUnit], job: BuildJob, runner: Runner, progress: Progress) -> None:
    """Build all units on the runner and return when they are committed. Raises BuildFailed, or ConfigError before it begins."""
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

    where = [f"--runner={runner.name}"]
    if runner.endpoint is not None:
        _require_server(runner.endpoint)
        where = ["--runner=PortableRunner", f"--job_endpoint={runner.endpoint}"]
    try:
        run_graph(units, job, [*where, *runner.options])
    except Exception as error:  # whatever a runner raises, its own trace says where
        first = next(iter(str(error).splitlines()), "")
        raise BuildFailed(f"the runner {runner.name} failed: {type(error).__name__}: {first}") from error


def _require_server(endpoint: str) -> None:
    """Raise ConfigError where nobody listens: Beam would wait for ever."""
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _PATIENCE_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(f"--job-endpoint {endpoint}: there is no job server ({error})") from error
