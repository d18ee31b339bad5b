"""One module a corpus: how its files lie on disk and which clips they hold."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.sources import demo, fashion, folder, taichi, voxceleb1, voxceleb2
from pipeline.sources.listing import Listing
from pipeline.sources.tree import Tree
from schemas.layout import SPLITS
from schemas.records import ClipSpec


def _whole_frame(tree: Tree) -> str:
    return "resize"


def _annotated_box(tree: Tree) -> str:
    return "bbox"


def _nothing(root: Path) -> None:
    """Most sources are what the user has on disk."""


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus layout.

    list_clips(listing): its clips in a fixed order; raises ConfigError for directories that cannot be listed
    expected: the layout in a few words, for the user whose directory holds no clips
    recipe(tree): the crop recipe when the user names none
    splits: directories at the top of the layout that are splits; an archive named after one is put there
    takes_videos: whether `--input` may name single videos
    prepare(root): makes the files, for sources that are not the user's own
    """

    list_clips: Callable[[Listing], Iterator[ClipSpec]]
    expected: str
    recipe: Callable[[Tree], str] = _whole_frame
    splits: tuple[str, ...] = ()
    takes_videos: bool = False
    prepare: Callable[[Path], None] = _nothing


SOURCES = {
    "voxceleb1": Source(voxceleb1.list_clips, voxceleb1.EXPECTED, recipe=_annotated_box),
    "voxceleb2": Source(voxceleb2.list_clips, voxceleb2.EXPECTED, recipe=voxceleb2.recipe, splits=tuple(voxceleb2.SPLITS)),
    "taichi": Source(taichi.list_clips, taichi.EXPECTED, recipe=_annotated_box),
    "fashion": Source(fashion.list_clips, fashion.EXPECTED, splits=SPLITS),
    "folder": Source(folder.list_clips, folder.EXPECTED, splits=folder.SPLITS, takes_videos=True),
    "demo": Source(demo.list_clips, voxceleb2.EXPECTED, prepare=demo.prepare),
}
