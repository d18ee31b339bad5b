"""Any directory tree of videos, or single videos, one clip per file; with `--metadata`, the clips of a csv in FOMM's format.

Top-level directories `train/`, `val/` and `test/` are splits; everything else is training data. The first directory below the
split is the identity, and directories between it and the file form the video. A file at the top is its own identity.
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
    """Yield every file with a video suffix, ordered by path."""
    if listing.metadata is not None:
        yield from metadata_csv.list_clips(listing, "folder", listing.metadata.name)
        return
    identities, splits = set(), set()
    for entry in _walk(listing):
        parts = [*entry.path.split("/")[:-1], entry.name.rpartition(".")[0]]
        split = split_named(parts[0]) if len(parts) > 1 else None
        if split is not None:
            parts.pop(0)
        identity, video = parts[0], "/".join(parts[1:-1]) or parts[0]
        # The suffix is part of the name, since a.mp4 and a.mkv may be in the same directory.
        key = clip_key(identity, video, entry.name if len(parts) > 1 else "video")
        identities.add(identity)
        splits.add(split or "train")
        yield ClipSpec(key, "folder", split or "train", identity, video, (entry.span(),), cost_s(entry.bytes))
    if splits == {"train"}:
        people = f"{len(identities)} {'identity' if len(identities) == 1 else 'identities'}"
        listing.notes.append(f"{people}, all in train; directories train/, val/ and test/ are splits (docs/sources/folder.md)")


def recipe(tree: Tree, metadata: Path | None) -> str | None:
    """`bbox` for a csv, whose rows have boxes; None for files, which may show anything."""
    return None if metadata is None else "bbox"


def _walk(listing: Listing) -> Iterator[Entry]:
    """Yield all videos. Uses a stack, since a path may have more levels than Python's recursion limit."""
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
    """Whether to list a linked directory: only once per target, and never a directory that contains the link.

    Otherwise directories that link to each other would be listed along every path between them.
    """
    assert link.on_disk is not None, "only directories on disk are links"
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
