"""VoxCeleb2: `{dev,test}/mp4/idNNNNN/<youtube id>/NNNNN.mp4`, faces already cropped to 224x224 at 25 fps.

Also taken: a root without `mp4/`, one half alone, and a tree of identities without `dev` and `test`; there the split comes
from `vox2_meta.csv` where it lies beside them, else all is training data. Splits are called train and test.
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import ConfigError
from schemas.layout import clip_key, path_to_uri
from schemas.records import ClipSpec, Span

SPLITS = {"dev": "train", "test": "test"}
EXPECTED = "{dev,test}/mp4/<identity>/<video>/<clip>.mp4"

# Core seconds of a clip, fitted on the corpus of the tests with dlib: a fixed part, and decoding by the byte.
_COST_FIXED_S = 0.15
_COST_BYTE_S = 1.0e-6


def list_clips(root: Path, unit: str, source: str = "voxceleb2") -> Iterator[ClipSpec]:
    """All clips below `root` in the order of their names; nothing is opened, so a bad file is found when it is built.

    Raises:
        ConfigError: `root` holds no such tree, or a directory in it cannot be listed
    """
    official = _official_splits(root)
    for split, top in _tops(root):
        for identity in _directories(top):
            identity_split = official.get(identity.name, split)
            for video in _directories(Path(identity)):
                files = _videos(Path(video))
                if files:
                    yield from _specs(root, source, unit, identity_split, identity.name, video.name, files)


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


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise ConfigError(f"cannot list {directory}: {error.strerror}") from error


def _directories(directory: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(directory) if _is_directory(entry)]


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself leads to no directory
        return False


def _videos(directory: Path) -> list[os.DirEntry[str]]:
    """Whatever is called .mp4, also what is no file: it is planned, and rejected by name, not passed over."""
    return [entry for entry in _entries(directory) if entry.name.lower().endswith(".mp4")]


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a broken link: building it will tell the reason
        return 0


def _specs(
    root: Path, source: str, unit: str, split: str, identity: str, video: str, files: list[os.DirEntry[str]]
) -> Iterator[ClipSpec]:
    base = len(os.path.join(root, ""))
    found = [(file.name[:-4], Span(path_to_uri(file.path[base:])), _size(file)) for file in files]
    groups = [("video", found)] if unit == "video" else [(one[0], [one]) for one in found]
    for name, members in groups:
        yield ClipSpec(
            key=clip_key(identity, video, name),
            source=source,
            split=split,
            identity=identity,
            video=video,
            spans=tuple(span for _, span, _ in members),
            cost=_COST_FIXED_S + _COST_BYTE_S * sum(size for _, _, size in members),
        )
