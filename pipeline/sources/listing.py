"""What a source is asked for, and what it has to say besides its clips."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Listing:
    """One listing of a source.

    root: the input directory
    unit: `utterance` or `video`
    metadata: a csv of clips that the user named, for sources that have one
    malformed: filled by the source: a line for each annotation that cannot be understood, naming file, line and field
    """

    root: Path
    unit: str = "utterance"
    metadata: Path | None = None
    malformed: list[str] = field(default_factory=list)
