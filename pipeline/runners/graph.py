"""The Beam graph: one ParDo over shard units, one leaf.

Pixels never cross a stage, since shuffling them costs more than making them (docs/decisions.md), and no runner's weak spot
is used: no tagged outputs, no state, no finish_bundle, no side outputs.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

from motionshards.pipeline.clips.memory import killed_without_memory
from motionshards.pipeline.shards.add import add_to_shard
from motionshards.pipeline.shards.bucket import build_into_bucket
from motionshards.pipeline.shards.build import BuildJob, build_shard
from motionshards.pipeline.shards.journal import Abandoned, note_failure
from motionshards.schemas.records import ShardUnit

# Where boto3 is installed Beam's import warns of packages that nobody asked for, in each worker.
logging.disable(logging.WARNING)
import apache_beam as beam  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from apache_beam.runners.runner import PipelineResult, PipelineRunner  # noqa: E402

logging.disable(logging.NOTSET)


# Some runners give several bundles to the threads of one process, whose models are for one at a time.
_AT_WORK = threading.Lock()


class BuildShard(beam.DoFn):
    """Builds a unit and yields its name. Models live in a cache of the process, so bundles share them, one after another."""

    def __init__(self, job: BuildJob) -> None:
        self._job = job

    def process(self, unit: ShardUnit) -> Iterator[str]:
        """Build one unit; a failure is noted beside the journals, since runners bury it in traces of their own."""
        try:
            with _AT_WORK, killed_without_memory():
                built = self._work()(unit, self._job)
        except Abandoned:
            raise
        except Exception as error:
            if self._job.journal is not None:
                note_failure(self._job.journal, error)
            raise
        yield built.name

    def _work(self) -> Callable[[ShardUnit, BuildJob], ShardUnit]:
        if self._job.bucket is not None:
            return build_into_bucket
        return build_shard if self._job.addition is None else add_to_shard


def start_graph(
    units: Sequence[ShardUnit], job: BuildJob, options: Sequence[str], runner: PipelineRunner | None = None
) -> PipelineResult:
    """Begin to build all units on a runner, by default the one that `options` (Beam's own command line options) name."""
    pipeline = beam.Pipeline(runner, PipelineOptions(list(options)))
    _ = pipeline | "Units" >> beam.Create(list(units)) | beam.Reshuffle() | "Build" >> beam.ParDo(BuildShard(job))
    return pipeline.run()


def run_graph(units: Sequence[ShardUnit], job: BuildJob, options: Sequence[str], runner: PipelineRunner | None = None) -> None:
    """The same; returns when all are built, or raises what the runner raises."""
    start_graph(units, job, options, runner).wait_until_finish()
