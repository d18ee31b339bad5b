"""The request to build a dataset."""

from dataclasses import dataclass, field
from pathlib import Path

from motionshards.pipeline.inputs.input import Input
from motionshards.pipeline.planning import plan
from motionshards.pipeline.runners import choose
from motionshards.schemas.bucket import Bucket
from motionshards.transforms.extract.action_units.source import AuSource


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOrder:
    """A request to build a dataset, besides its config.

    input: the opened input
    out: the output directory
    bucket: the object store that `out` mirrors, see `shards.bucket.mirrored`
    metadata: a csv of clips, for sources that support one
    subset: which listed clips to plan
    retry: reason codes whose rejected clips are planned again
    weights, compile: directory that is searched first for weight files; whether to compile the networks
    aus: source of action units, if any
    runner: where to run
    remarks: lines for the user, shown once the input has been listed
    """

    input: Input
    out: Path
    subset: plan.Subset
    metadata: Path | None = None
    retry: tuple[str, ...] = ()
    weights: Path | None = None
    compile: bool = False
    aus: AuSource | None = None
    bucket: Bucket | None = None
    runner: choose.Runner = field(default_factory=choose.Runner)
    remarks: tuple[str, ...] = ()
    quiet: bool = False
