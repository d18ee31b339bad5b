"""VoxCeleb2: `{dev,test}/mp4/idNNNNN/<youtube id>/NNNNN.mp4`, faces already cropped to 224x224 at 25 fps.

Also accepted: a root without `mp4/`, only one half, and a tree of identities without `dev` and `test`, whose splits come from
`vox2_meta.csv` in the same directory if present; otherwise everything is training data. Splits are named train and test. With
`txt/` and `videos/`, the annotations are listed and the videos are the user's downloads, as for VoxCeleb1.
"""

from collections.abc import Iterator
from pathlib import Path

from motionshards.pipeline.inputs.files import cost_s
from motionshards.pipeline.inputs.tree import Entry, Tree, directories
from motionshards.pipeline.sources import voxceleb_txt
from motionshards.pipeline.sources.listing import Listing
from motionshards.pipeline.sources.table import read_rows
from motionshards.schemas.layout import clip_key
from motionshards.schemas.records import ClipSpec

SPLITS = {"dev": "train", "test": "test"}
EXPECTED = "{dev,test}/mp4/<identity>/<video>/<clip>.mp4, or txt/<identity>/<video>/<clip>.txt and videos/<video>.mp4"


def list_clips(listing: Listing, source: str = "voxceleb2") -> Iterator[ClipSpec]:
    """Yield all clips, ordered by name. Files are not opened; bad ones are rejected when they are built.

    Raises:
        ConfigError: a directory cannot be listed
    """
    tree = listing.tree
    official = _official_splits(tree)
    if tree.is_directory("videos"):
        yield from voxceleb_txt.list_clips(listing, source, SPLITS, lambda identity: official.get(identity, "train"))
        return
    for split, top in _tops(tree):
        for identity in directories(tree, top):
            identity_split = official.get(identity.name, split)
            for video in directories(tree, identity.path):
                # Anything named .mp4 is planned, even a directory, so that it is rejected instead of silently skipped.
                files = [entry for entry in tree.entries(video.path) if entry.name.lower().endswith(".mp4")]
                if files:
                    yield from _specs(listing, source, identity_split, identity.name, video.name, files)


def recipe(tree: Tree, metadata: Path | None) -> str:
    """`resize` for the official videos, which are already cropped; `bbox` for full videos with annotations."""
    return "bbox" if tree.is_directory("videos") else "resize"


def _tops(tree: Tree) -> list[tuple[str, str]]:
    """The directories that contain identities, each with its split."""
    halves = [(split, half) for half, split in SPLITS.items() if tree.is_directory(half)]
    tops = [(split, f"{half}/mp4" if tree.is_directory(f"{half}/mp4") else half) for split, half in halves]
    # A root that is itself one half is named after it.
    return tops or [(SPLITS.get(tree.name, "train"), "mp4" if tree.is_directory("mp4") else "")]


def _official_splits(tree: Tree) -> dict[str, str]:
    """Identity -> split from vox2_meta.csv, whose header cells have trailing spaces; empty if there is no such file."""
    content = tree.read("vox2_meta.csv")
    if content is None:
        return {}
    rows = read_rows("vox2_meta.csv", content, ("VoxCeleb2 ID", "Set"))
    found = [(row.cells.get("VoxCeleb2 ID", "").strip(), row.cells.get("Set", "").strip()) for row in rows]
    return {identity: SPLITS.get(which, "train") for identity, which in found if identity and which}


def _specs(listing: Listing, source: str, split: str, identity: str, video: str, files: list[Entry]) -> Iterator[ClipSpec]:
    found = [(file.name[:-4], file.span(), file.bytes) for file in files]
    groups = [("video", found)] if listing.unit == "video" else [(one[0], [one]) for one in found]
    for name, members in groups:
        yield ClipSpec(
            key=clip_key(identity, video, name),
            source=source,
            split=split,
            identity=identity,
            video=video,
            spans=tuple(span for _, span, _ in members),
            cost=cost_s(sum(bytes_ for _, _, bytes_ in members)),
        )
