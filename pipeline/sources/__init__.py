"""The supported corpora, one module each: file layout and list of clips.

May import pipeline.inputs and lower layers.
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
    """Most sources need no preparation."""


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus layout.

    list_clips(listing): yields its clips in a fixed order; raises ConfigError for directories that cannot be listed
    expected: short description of the layout, for the message if no clips are found
    recipe(tree, metadata): the default crop recipe, such as `bbox` if clips have boxes; None if it must be chosen by looking at
        some of the videos
    reads_csv: whether it supports a csv of clips (`--metadata`)
    no_face: default for clips without a face; `keep` for bodies, whose faces may be too small to detect
    splits: top-level directories that are splits; archives named after one are placed below it
    takes_videos: whether `--input` may be single videos
    prepare(root): creates the files, for generated sources
    urls(tree): URL of each listed video; None if videos are named by their YouTube id, or the list is read elsewhere
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


def default_no_face(source: str, landmarks: str, recipe: str) -> str:
    """The default of `no_face`; always `reject` where the setting has no effect."""
    return SOURCES[source].no_face if landmarks != "none" and recipe not in TUBE_RECIPES else "reject"
