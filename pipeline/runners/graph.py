"""The Beam graph: one ParDo over shard units, one leaf.

Pixels never cross a stage, since shuffling them costs more than computing them (docs/decisions.md). The graph avoids features
that some runners support poorly: tagged outputs, state, finish_bundle and side outputs.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

from motionshards.pipeline.clips.memory import kill_if_out_of_memory
from motionshards.pipeline.shards.add import add_to_shard
from motionshards.pipeline.shards.bucket import build_into_bucket
from motionshards.pipeline.shards.build import BuildJob, build_shard
from motionshards.pipeline.shards.journal import Abandoned, record_failure
from motionshards.schemas.records import ShardUnit

# With boto3 installed, importing Beam warns about missing optional packages, in each worker.
logging.disable(logging.WARNING)
import apache_beam as beam  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from apache_beam.runners.runner import PipelineResult, PipelineRunner  # noqa: E402

logging.disable(logging.NOTSET)


# Some runners process several bundles in threads of one process, but models are not thread-safe.
_UNIT_LOCK = threading.Lock()


class BuildShard(beam.DoFn):
    """Build a unit and yield its name. Models are cached per process and shared by consecutive bundles."""

    def __init__(self, job: BuildJob) -> None:
        self._job = job

    def process(self, unit: ShardUnit) -> Iterator[str]:
        """Build one unit. Failures are recorded next to the journals, since runners bury them in their own tracebacks."""
        try:
            with _UNIT_LOCK, kill_if_out_of_memory():
                built = self._work()(unit, self._job)
        except Abandoned:
            raise
        except Exception as error:
            if self._job.journal is not None:
                record_failure(self._job.journal, error)
            raise
        yield built.name

    def _work(self) -> Callable[[ShardUnit, BuildJob], ShardUnit]:
        if self._job.bucket is not None:
            return build_into_bucket
        return build_shard if self._job.addition is None else add_to_shard


def start_graph(
    units: Sequence[ShardUnit], job: BuildJob, options: Sequence[str], runner: PipelineRunner | None = None
) -> PipelineResult:
    """Start building all units, by default on the runner named in `options` (Beam's command line options)."""
    pipeline = beam.Pipeline(runner, PipelineOptions(list(options)))
    _ = pipeline | "Units" >> beam.Create(list(units)) | beam.Reshuffle() | "Build" >> beam.ParDo(BuildShard(job))
    return pipeline.run()


def run_graph(units: Sequence[ShardUnit], job: BuildJob, options: Sequence[str], runner: PipelineRunner | None = None) -> None:
    """Build all units and wait until they are finished. Raises whatever the runner raises."""
    start_graph(units, job, options, runner).wait_until_finish()
