"""Where the graph runs: `local` is supervised processes of this machine, any other name is Beam's.

Beam is imported where it is used: that takes seconds, and the parent of a local run never needs it.
"""

from collections.abc import Sequence

from pipeline.shard import BuildJob
from pipeline.supervise import Progress, build_locally
from schemas.errors import BuildFailed, ConfigError
from schemas.records import ShardUnit

LOCAL = "local"


def check_options(runner: str, options: Sequence[str]) -> None:
    """Raise ConfigError for options that Beam does not know either; other runners may take options of their own."""
    if runner != LOCAL or not options:
        return
    from apache_beam.options.pipeline_options import PipelineOptions

    stray = [option for option in options[:1] if not option.startswith("-")]
    known = PipelineOptions(list(options)).get_all_options()
    everything = PipelineOptions(list(options)).get_all_options(retain_unknown_options=True)
    unknown = [f"--{name}" for name in everything if name not in known]
    if stray or unknown:
        raise ConfigError(f"unknown option {', '.join(stray + unknown)} (neither of dataset.build nor of Apache Beam)")


def run(units: Sequence[ShardUnit], job: BuildJob, runner: str, workers: int, options: Sequence[str], progress: Progress) -> None:
    """Build all units on the runner and return when they are committed. Raises BuildFailed."""
    if runner == LOCAL:
        build_locally(units, job, workers, options, progress)
    else:
        from pipeline.graph import run_graph

        try:
            run_graph(units, job, [f"--runner={runner}", *options])
        except Exception as error:  # whatever a runner raises, its own trace says where
            first = next(iter(str(error).splitlines()), "")
            raise BuildFailed(f"the runner {runner} failed: {type(error).__name__}: {first}") from error
