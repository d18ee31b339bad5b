"""Any tree of videos: one clip a file. Or with `--metadata`, the clips of a csv as FOMM's authors write it.

`train/` and `test/` at the top are splits, else all is training data. The first directory below is the identity, what lies
between it and the file the video; a file that lies at the top is its own identity.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.sources import metadata_csv
from pipeline.sources.files import VIDEO_SUFFIXES, cost_s
from pipeline.sources.listing import Listing
from pipeline.sources.tree import Entry, Tree
from schemas.layout import clip_key
from schemas.records import ClipSpec

EXPECTED = "any tree of videos"
SPLITS = ("train", "test")


def list_clips(listing: Listing) -> Iterator[ClipSpec]:
    """Every file with a video's suffix, in the order of the paths. Links to directories are not followed: they may go round."""
    if listing.metadata is not None:
        yield from metadata_csv.list_clips(listing, "folder", listing.metadata.name)
        return
    for entry in _walk(listing.tree):
        parts = [*entry.path.split("/")[:-1], entry.name.rpartition(".")[0]]
        split = parts.pop(0) if parts[0] in SPLITS and len(parts) > 1 else "train"
        identity, video = parts[0], "/".join(parts[1:-1]) or parts[0]
        # The suffix is part of the name: a.mp4 and a.mkv may lie side by side.
        key = clip_key(identity, video, entry.name if len(parts) > 1 else "video")
        yield ClipSpec(key, "folder", split, identity, video, (entry.span(),), cost_s(entry.bytes))


def recipe(tree: Tree, metadata: Path | None) -> str:
    """Rows of a csv have boxes, files have none."""
    return "resize" if metadata is None else "bbox"


def _walk(tree: Tree, path: str = "") -> Iterator[Entry]:
    for entry in tree.entries(path):
        if entry.name.lower().endswith(VIDEO_SUFFIXES):
            yield entry
        elif entry.is_directory and not entry.is_link:
            yield from _walk(tree, entry.path)
