"""The corpora, a module each: how their files are laid out, and which clips they hold.

Imports pipeline.inputs and what lies below.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from motionshards.pipeline.inputs.tree import Tree
from motionshards.pipeline.sources import celebvhq, demo, fashion, folder, hdtf, taichi, talkinghead1kh, voxceleb1, voxceleb2
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import TUBE_RECIPES
from motionshards.schemas.layout import SPLITS
from motionshards.schemas.records import ClipSpec


def _whole_frame(tree: Tree, metadata: Path | None) -> str:
    return "resize"


def _annotated_box(tree: Tree, metadata: Path | None) -> str:
    return "bbox"


def _inner_box(tree: Tree, metadata: Path | None) -> str:
    return "inner-bbox"


def _no_urls(tree: Tree) -> dict[str, str] | None:
    return None


def _nothing(root: Path) -> None:
    """Most sources are what the user has on disk."""


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus layout.

    list_clips(listing): its clips in a fixed order; raises ConfigError for directories that cannot be listed
    expected: the layout in a few words, for the user whose directory holds no clips
    recipe(tree, metadata): the crop recipe when the user names none: `bbox` where what is listed has boxes; None where videos
        may show anything, and some have to be looked at
    reads_csv: whether it lists the clips of a csv that `--metadata` names
    no_face: what becomes of clips without a face when the user does not say: bodies may have faces too small to be found
    splits: directories at the top of the layout that are splits; an archive named after one is put there
    takes_videos: whether `--input` may name single videos
    prepare(root): makes the files, for sources that are not the user's own
    urls(tree): the URL of each listed video; None where videos are named by their id on YouTube, or the list is read elsewhere
    """

    list_clips: Callable[[Listing], Iterator[ClipSpec]]
    expected: str
    recipe: Callable[[Tree, Path | None], str | None] = _whole_frame
    reads_csv: bool = False
    no_face: str = "reject"
    splits: tuple[str, ...] = ()
    takes_videos: bool = False
    prepare: Callable[[Path], None] = _nothing
    urls: Callable[[Tree], dict[str, str] | None] = _no_urls


SOURCES = {
    "voxceleb1": Source(voxceleb1.list_clips, voxceleb1.EXPECTED, recipe=_annotated_box, reads_csv=True),
    "voxceleb2": Source(voxceleb2.list_clips, voxceleb2.EXPECTED, recipe=voxceleb2.recipe, splits=tuple(voxceleb2.SPLITS)),
    "taichi": Source(taichi.list_clips, taichi.EXPECTED, recipe=_annotated_box, reads_csv=True, no_face="keep"),
    "fashion": Source(fashion.list_clips, fashion.EXPECTED, splits=SPLITS, no_face="keep"),
    "folder": Source(
        folder.list_clips, folder.EXPECTED, recipe=folder.recipe, reads_csv=True, splits=folder.SPLITS, takes_videos=True
    ),
    "hdtf": Source(hdtf.list_clips, hdtf.EXPECTED, recipe=_annotated_box, urls=hdtf.urls),
    "celebvhq": Source(celebvhq.list_clips, celebvhq.EXPECTED, recipe=_inner_box),
    "talkinghead1kh": Source(talkinghead1kh.list_clips, talkinghead1kh.EXPECTED, recipe=_annotated_box),
    "demo": Source(demo.list_clips, voxceleb2.EXPECTED, prepare=demo.prepare),
}


def usual_no_face(source: str, landmarks: str, recipe: str) -> str:
    """What becomes of clips without a face when the user does not say; always `reject` where that decides nothing."""
    return SOURCES[source].no_face if landmarks != "none" and recipe not in TUBE_RECIPES else "reject"
