"""VoxCeleb2: `{dev,test}/mp4/idNNNNN/<youtube id>/NNNNN.mp4`, faces already cropped to 224x224 at 25 fps.

Also taken: a root without `mp4/`, one half alone, and a tree of identities without `dev` and `test`; there the split comes
from `vox2_meta.csv` where it lies beside them, else all is training data. Splits are called train and test. Where there is
`txt/` and `videos/` instead, the annotations are listed and the videos are the user's own downloads, as for VoxCeleb1.
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.sources import voxceleb_txt
from pipeline.sources.files import cost_s, directories, entries, size
from pipeline.sources.listing import Listing
from schemas.errors import ConfigError
from schemas.layout import clip_key, path_to_uri
from schemas.records import ClipSpec, Span

SPLITS = {"dev": "train", "test": "test"}
EXPECTED = "{dev,test}/mp4/<identity>/<video>/<clip>.mp4, or txt/<identity>/<video>/<clip>.txt and videos/<video>.mp4"


def list_clips(listing: Listing, source: str = "voxceleb2") -> Iterator[ClipSpec]:
    """All clips below the root in the order of their names; nothing is opened, so a bad file is found when it is built.

    Raises:
        ConfigError: a directory cannot be listed
    """
    root = listing.root
    official = _official_splits(root)
    if (root / "videos").is_dir():
        yield from voxceleb_txt.list_clips(listing, source, SPLITS, lambda identity: official.get(identity, "train"))
        return
    for split, top in _tops(root):
        for identity in directories(top):
            identity_split = official.get(identity.name, split)
            for video in directories(Path(identity)):
                files = _videos(Path(video))
                if files:
                    yield from _specs(listing, source, identity_split, identity.name, video.name, files)


def recipe(root: Path) -> str:
    """The official videos are crops already; those of the annotation tree are not."""
    return "bbox" if (root / "videos").is_dir() else "resize"


def _tops(root: Path) -> list[tuple[str, Path]]:
    """The directories that hold identities, each with its split."""
    halves = [(split, root / half) for half, split in SPLITS.items() if (root / half).is_dir()]
    if not halves:
        halves = [(SPLITS.get(root.name, "train"), root)]
    return [(split, top / "mp4" if (top / "mp4").is_dir() else top) for split, top in halves]


def _official_splits(root: Path) -> dict[str, str]:
    """identity -> split by vox2_meta.csv, whose header cells carry trailing spaces; empty where there is no such file."""
    path = root / "vox2_meta.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [[cell.strip() for cell in row] for row in csv.reader(stream)]
    if not rows or "VoxCeleb2 ID" not in rows[0] or "Set" not in rows[0]:
        raise ConfigError(f"{path} has no columns 'VoxCeleb2 ID' and 'Set'")
    who, which = rows[0].index("VoxCeleb2 ID"), rows[0].index("Set")
    return {row[who]: SPLITS.get(row[which], "train") for row in rows[1:] if len(row) > max(who, which)}


def _videos(directory: Path) -> list[os.DirEntry[str]]:
    """Whatever is called .mp4, also what is no file: it is planned, and rejected by name, not passed over."""
    return [entry for entry in entries(directory) if entry.name.lower().endswith(".mp4")]


def _specs(
    listing: Listing, source: str, split: str, identity: str, video: str, files: list[os.DirEntry[str]]
) -> Iterator[ClipSpec]:
    base = len(os.path.join(listing.root, ""))
    found = [(file.name[:-4], Span(path_to_uri(file.path[base:])), size(file)) for file in files]
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
