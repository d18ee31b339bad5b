"""Builds and additions without worker processes, whose startup takes longer than a small test."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from motionshards.pipeline.shards.add import add_to_shard
from motionshards.pipeline.shards.bucket import build_into_bucket
from motionshards.pipeline.shards.build import BuildJob, build_shard
from motionshards.schemas.records import ShardUnit


@contextmanager
def in_this_process() -> Iterator[None]:
    """Within the block, units are built in this process, one after another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("motionshards.pipeline.runners.choose.run", _run)
        yield


def _run(units: Sequence[ShardUnit], job: BuildJob, *_: object) -> None:
    work = build_shard if job.addition is None else add_to_shard
    for unit in units:
        (build_into_bucket if job.bucket else work)(unit, job)
