"""Any tree of videos, or a single one: one clip a file. Or with `--metadata`, the clips of a csv as FOMM's authors write it.

`train/`, `val/` and `test/` at the top are splits, else all is training data. The first directory below is the identity, what
lies between it and the file the video; a file that lies at the top is its own identity.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from motionshards.pipeline.inputs.accounting import LINK_LOOP, LINKED_AGAIN
from motionshards.pipeline.inputs.files import VIDEO_SUFFIXES, cost_s
from motionshards.pipeline.inputs.tree import Entry, Tree
from motionshards.pipeline.sources import metadata_csv
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.splits import NAMES, split_named
from motionshards.schemas.layout import clip_key
from motionshards.schemas.records import ClipSpec

EXPECTED = "any tree of videos"
SPLITS = NAMES


def list_clips(listing: Listing) -> Iterator[ClipSpec]:
    """Every file with a video's suffix, in the order of the paths."""
    if listing.metadata is not None:
        yield from metadata_csv.list_clips(listing, "folder", listing.metadata.name)
        return
    for entry in _walk(listing):
        parts = [*entry.path.split("/")[:-1], entry.name.rpartition(".")[0]]
        split = split_named(parts[0]) if len(parts) > 1 else None
        if split is not None:
            parts.pop(0)
        identity, video = parts[0], "/".join(parts[1:-1]) or parts[0]
        # The suffix is part of the name: a.mp4 and a.mkv may lie side by side.
        key = clip_key(identity, video, entry.name if len(parts) > 1 else "video")
        yield ClipSpec(key, "folder", split or "train", identity, video, (entry.span(),), cost_s(entry.bytes))


def recipe(tree: Tree, metadata: Path | None) -> str | None:
    """Rows of a csv have boxes; files have none, and may show anything."""
    return None if metadata is None else "bbox"


def _walk(listing: Listing) -> Iterator[Entry]:
    """The videos below the top. A stack in place of recursion: a path may have more levels than Python has frames."""
    followed: set[str] = set()
    stack = [iter(listing.tree.entries())]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif entry.name.lower().endswith(VIDEO_SUFFIXES):
            yield entry
        elif entry.is_directory and (not entry.is_link or _follows(entry, followed, listing)):
            stack.append(iter(listing.tree.entries(entry.path)))


def _follows(link: Entry, followed: set[str], listing: Listing) -> bool:
    """Whether to list what a linked directory holds: once for each place, and never a directory that holds the link.

    Without "once", directories that link to each other would be listed on every path between them.
    """
    assert link.on_disk is not None, "only directories on a disk are links"
    target = os.path.realpath(link.on_disk.path)
    root = os.path.realpath(link.on_disk.path.removesuffix(link.path))
    holders = (root, os.path.realpath(os.path.dirname(link.on_disk.path)))  # noqa: PTH120
    if any(os.path.commonpath([holder, target]) == target for holder in holders):
        listing.tree.leave_out(link, LINK_LOOP)
        return False
    if target in followed:
        listing.tree.leave_out(link, LINKED_AGAIN)
        return False
    followed.add(target)
    return True
