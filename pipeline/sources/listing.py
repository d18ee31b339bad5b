"""What a source is asked for, and what it has to say besides its clips."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from motionshards.pipeline.inputs.accounting import AccountedTree
from motionshards.pipeline.inputs.tree import Tree


@dataclass(slots=True)
class Listing:
    """One listing of a source.

    input: the files
    unit: `utterance` or `video`
    metadata: a csv of clips that the user named, for sources that have one
    malformed: filled by the source: a line for each annotation that cannot be understood, naming file, line and field
    notes: filled by the source: what else the user should know of the input, a line each
    used: uris of files and directories of the input that are not for the source, see `AccountedTree`
    tree: the files as the source is to list them, so that those it leaves out are counted
    """

    input: Tree
    unit: str = "utterance"
    metadata: Path | None = None
    malformed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used: Sequence[str] = ()
    tree: AccountedTree = field(init=False)

    def __post_init__(self) -> None:
        self.tree = AccountedTree(self.input, self.used)
