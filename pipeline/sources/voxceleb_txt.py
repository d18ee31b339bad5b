"""VoxCeleb's annotation tree: `txt/<identity>/<youtube id>/<clip>.txt`, and downloaded videos `videos/<youtube id>.mp4`.

Annotation files are read when clips are built, so that a million of them are listed without opening any. Clips of videos that
have not been downloaded are planned, and rejected as unreadable, so the ledger shows how much of the corpus is available.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from motionshards.pipeline.inputs.files import cost_s, video_of, videos_by_id
from motionshards.pipeline.inputs.tree import Entry, directories
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.layout import clip_key
from motionshards.schemas.records import ClipSpec


def list_clips(listing: Listing, source: str, halves: dict[str, str], split_of: Callable[[str], str]) -> Iterator[ClipSpec]:
    """Yield the annotated clips of `txt/`, and of `<half>/txt/` with that half's split, ordered by name."""
    videos = videos_by_id(listing.tree)
    tops = [("", "txt"), *((split, f"{half}/txt") for half, split in halves.items())]
    for split, top in tops:
        for identity in directories(listing.tree, top) if listing.tree.is_directory(top) else []:
            for video in directories(listing.tree, identity.path):
                yield from _specs(listing, source, split or split_of(identity.name), identity.name, video, videos)


def _specs(
    listing: Listing,
    source: str,
    split: str,
    identity: str,
    video: Entry,
    videos: dict[str, Entry],
) -> Iterator[ClipSpec]:
    file = video_of(video.name, videos)
    whole = file.span()
    tracks = [entry for entry in listing.tree.entries(video.path) if entry.name.endswith(".txt")]
    spans = [(track.name[:-4], replace(whole, track_uri=track.uri, track_packed=track.packed)) for track in tracks]
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
            # A long video is decoded up to the last of the clip's frames.
            cost=len(members) * cost_s(file.bytes),
        )
