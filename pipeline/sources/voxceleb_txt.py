"""VoxCeleb's annotation tree: `txt/<identity>/<youtube id>/<clip>.txt`, and the user's videos `videos/<youtube id>.mp4`.

The annotation files are read when a clip is built, so a tree of a million is listed without opening one. A video that was
not downloaded is planned all the same, and rejected as unreadable: the ledger then tells how much of the corpus is there.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.sources.files import cost_s, directories, entries, videos_by_id
from pipeline.sources.listing import Listing
from schemas.layout import clip_key, path_to_uri
from schemas.records import ClipSpec, Span


def list_clips(listing: Listing, source: str, halves: dict[str, str], split_of: Callable[[str], str]) -> Iterator[ClipSpec]:
    """The annotated clips of `txt/`, or of `<half>/txt/` with that half's split, in the order of their names."""
    videos = videos_by_id(listing.root)
    tops = [(split, listing.root / half / "txt") for half, split in halves.items()]
    for split, top in [("", listing.root / "txt"), *tops]:
        for identity in directories(top) if top.is_dir() else []:
            for video in directories(Path(identity)):
                yield from _specs(listing, source, split or split_of(identity.name), identity.name, video, videos)


def _specs(
    listing: Listing,
    source: str,
    split: str,
    identity: str,
    video: os.DirEntry[str],
    videos: dict[str, tuple[str, int]],
) -> Iterator[ClipSpec]:
    base = len(os.path.join(listing.root, ""))
    path, size_bytes = videos.get(video.name, (os.path.join("videos", f"{video.name}.mp4"), 0))
    files = [entry for entry in entries(Path(video)) if entry.name.endswith(".txt")]
    spans = [(e.name[:-4], Span(path_to_uri(path), track_uri=path_to_uri(e.path[base:]))) for e in files]
    if not spans:
        return
    groups = [("video", spans)] if listing.unit == "video" else [(name, [(name, span)]) for name, span in spans]
    for name, members in groups:
        yield ClipSpec(
            key=clip_key(identity, video.name, name),
            source=source,
            split=split,
            identity=identity,
            video=video.name,
            spans=tuple(span for _, span in members),
            # Frames are picked from a video of minutes by decoding it up to the last of them.
            cost=len(members) * cost_s(size_bytes),
        )
