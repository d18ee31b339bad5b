"""Fashion (UBC): `train/*.mp4` and `test/*.mp4`, or videos in `videos/` or at the top level with the two lists of URLs.

Each line of `fashion_train.txt` and `fashion_test.txt` is a URL that ends with the video's file name. Each video shows one person
in one dress, so it is its own identity.
"""

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from motionshards.pipeline.inputs.files import VIDEO_SUFFIXES, cost_s, video_of, videos_by_id
from motionshards.pipeline.inputs.foreign import lines_of, points_outside
from motionshards.pipeline.inputs.tree import Entry
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.layout import SPLITS, clip_key
from motionshards.schemas.records import ClipSpec

EXPECTED = "train/*.mp4 and test/*.mp4, or fashion_train.txt, fashion_test.txt and videos/*.mp4"


def list_clips(listing: Listing) -> Iterator[ClipSpec]:
    """Yield one clip per video: first those in the directories, then those only in the lists, which may not be downloaded."""
    seen: set[str] = set()
    for split in SPLITS:
        for entry in listing.tree.entries(split) if listing.tree.is_directory(split) else []:
            if entry.name.lower().endswith(VIDEO_SUFFIXES):
                name = entry.name.rpartition(".")[0]
                seen.add(name)
                yield _spec(split, name, entry)
    videos = videos_by_id(listing.tree)
    for split in SPLITS:
        for name in _listed(listing, split):
            if name not in seen:
                seen.add(name)
                yield _spec(split, name, video_of(name, videos))


def _listed(listing: Listing, split: str) -> Iterator[str]:
    """Yield the video names of a URL list; other lines are recorded in `listing.malformed`."""
    path = f"fashion_{split}.txt"
    for number, line in enumerate(lines_of(listing.tree.read(path) or b""), 1):
        name = video_of_url(line.strip())
        if name is not None:
            yield name
        elif line.strip():
            listing.malformed.append(f"{path} line {number}: URL is {line.strip()[:80]!r}, must end with a video's name")


def video_of_url(url: str) -> str | None:
    """The video name at the end of a URL, without suffix; None if there is none."""
    try:
        name, dot, suffix = unquote(urlsplit(url).path).rpartition("/")[2].rpartition(".")
    except ValueError:  # brackets without an IPv6 address
        return None
    return name if name and dot and f".{suffix.lower()}" in VIDEO_SUFFIXES and not points_outside(name) else None


def _spec(split: str, name: str, file: Entry) -> ClipSpec:
    return ClipSpec(clip_key(name, name, "video"), "fashion", split, name, name, (file.span(),), cost_s(file.bytes))
