"""What a source is asked for, and what it has to say besides its clips."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.sources.tree import Tree


@dataclass(frozen=True, slots=True)
class Listing:
    """One listing of a source.

    tree: the input
    unit: `utterance` or `video`
    metadata: a csv of clips that the user named, for sources that have one
    malformed: filled by the source: a line for each annotation that cannot be understood, naming file, line and field
    """

    tree: Tree
    unit: str = "utterance"
    metadata: Path | None = None
    malformed: list[str] = field(default_factory=list)
