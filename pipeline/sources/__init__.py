"""One module a corpus: how its files lie on disk and which clips they hold."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.sources import demo, voxceleb2
from schemas.records import ClipSpec


def _nothing(root: Path) -> None:
    """Most sources are what the user has on disk."""


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus layout.

    list_clips(root, unit): its clips in a fixed order; raises ConfigError for directories that cannot be listed
    expected: the layout in a few words, for the user whose directory holds no clips
    prepare(root): makes the files, for sources that are not the user's own
    """

    list_clips: Callable[[Path, str], Iterator[ClipSpec]]
    expected: str
    prepare: Callable[[Path], None] = _nothing


SOURCES = {
    "voxceleb2": Source(voxceleb2.list_clips, voxceleb2.EXPECTED),
    "demo": Source(demo.list_clips, voxceleb2.EXPECTED, demo.prepare),
}
