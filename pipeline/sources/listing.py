"""The request to a source to list its clips, and its warnings."""

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
    metadata: a csv of clips given by the user, for sources that support one
    malformed: filled by the source: one line per annotation that cannot be parsed, naming file, line and field
    notes: filled by the source: other remarks about the input for the user, one line each
    used: uris of files and directories of the input that the source must ignore, see `AccountedTree`
    tree: the files as the source must list them, so that unused ones are counted
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
