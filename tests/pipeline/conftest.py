"""Fixtures for tests of single shards."""

import pytest

from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.planning.plan import Subset, listing_table, plan_new, units
from motionshards.pipeline.shards.build import BuildJob
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.voxceleb2 import list_clips
from motionshards.schemas.records import ShardUnit


@pytest.fixture
def unit(job: BuildJob) -> ShardUnit:
    """The only planned shard of the training split; the test module defines the fixture `job`."""
    clips = listing_table(list_clips(Listing(DirectoryTree(job.root))), job.config)
    plan_new(job.out, clips, job.config, Subset(frozenset({"train"})))
    return units(job.out)[0]
