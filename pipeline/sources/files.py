"""Listing files: sorted, without opening them, and without falling over links that lead nowhere."""

import os
from pathlib import Path

from schemas.errors import ConfigError

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v")

# Core seconds of a clip, fitted on the corpus of the tests with dlib: a fixed part, and decoding by the byte.
_COST_FIXED_S = 0.15
_COST_BYTE_S = 1.0e-6


def entries(directory: Path) -> list[os.DirEntry[str]]:
    """What a directory holds, by name, hidden files left out. Raises ConfigError where it cannot be listed."""
    try:
        with os.scandir(directory) as found:
            return sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise ConfigError(f"cannot list {directory}: {error.strerror}") from error


def directories(directory: Path) -> list[os.DirEntry[str]]:
    """The directories in a directory, by name."""
    return [entry for entry in entries(directory) if is_directory(entry)]


def is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is, or leads to, a directory."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself leads to no directory
        return False


def size(entry: os.DirEntry[str]) -> int:
    """Bytes of a file."""
    try:
        return entry.stat().st_size
    except OSError:  # a broken link: building it will tell the reason
        return 0


def cost_s(size_bytes: float) -> float:
    """Estimated seconds of one core for a clip whose frames lie within so many bytes."""
    return _COST_FIXED_S + _COST_BYTE_S * size_bytes


def videos_by_id(root: Path) -> dict[str, tuple[str, int]]:
    """name without suffix -> (path below root, bytes) of the videos in `root/videos`, or in `root` where there is none.

    Of several files of one name the first by suffix in VIDEO_SUFFIXES counts.
    """
    top = root / "videos" if (root / "videos").is_dir() else root
    base = len(os.path.join(root, ""))
    found: dict[str, tuple[str, int]] = {}
    for suffix in reversed(VIDEO_SUFFIXES):
        for entry in entries(top):
            if entry.name.lower().endswith(suffix):
                found[entry.name[: -len(suffix)]] = (entry.path[base:], size(entry))
    return found
