"""Video file suffixes, cost estimates, and lookup of downloaded videos."""

from motionshards.pipeline.inputs.tree import Entry, Tree

# Suffixes of the containers that `transforms.extract.decoder` allows, except raw streams, which have no timestamps.
_SUFFIXES = (
    "mp4 mkv webm avi mov m4v qt 3gp 3g2 f4v flv ts mts m2ts m2t mpg mpeg vob mod tod wmv asf ogv ogm gif mxf nut dv rm rmvb"
)
VIDEO_SUFFIXES = tuple(f".{suffix}" for suffix in _SUFFIXES.split())

# Core seconds per clip, fitted on the test corpus with dlib: a constant, and decoding time per byte.
_COST_FIXED_S = 0.15
_COST_BYTE_S = 1.0e-6


def cost_s(size_bytes: float) -> float:
    """Estimated core seconds for a clip from a file of this size."""
    return _COST_FIXED_S + _COST_BYTE_S * size_bytes


def videos_by_id(tree: Tree) -> dict[str, Entry]:
    """Name without suffix -> file, for the videos in `videos/`, or at the top level if there is no such directory.

    Of several files with the same stem, the one whose suffix comes first in VIDEO_SUFFIXES is used.
    """
    files = [entry for entry in tree.entries("videos" if tree.is_directory("videos") else "") if not entry.is_directory]
    found: dict[str, Entry] = {}
    for suffix in reversed(VIDEO_SUFFIXES):
        found |= {entry.name[: -len(suffix)]: entry for entry in files if entry.name.lower().endswith(suffix)}
    return found


def video_of(name: str, videos: dict[str, Entry]) -> Entry:
    """The file of a listed video; if it has not been downloaded, the expected path."""
    return videos.get(name) or Entry(f"{name}.mp4", f"videos/{name}.mp4", is_directory=False)
