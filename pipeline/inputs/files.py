"""What counts as a video, what it costs, and where the user's downloads are."""

from motionshards.pipeline.inputs.tree import Entry, Tree

# Names of the containers that `transforms.extract.decoder` allows, without those of bare streams, which have no timestamps.
_SUFFIXES = (
    "mp4 mkv webm avi mov m4v qt 3gp 3g2 f4v flv ts mts m2ts m2t mpg mpeg vob mod tod wmv asf ogv ogm gif mxf nut dv rm rmvb"
)
VIDEO_SUFFIXES = tuple(f".{suffix}" for suffix in _SUFFIXES.split())

# Core seconds of a clip, fitted on the corpus of the tests with dlib: a fixed part, and decoding by the byte.
_COST_FIXED_S = 0.15
_COST_BYTE_S = 1.0e-6


def cost_s(size_bytes: float) -> float:
    """Estimated seconds of one core for a clip whose frames lie within so many bytes."""
    return _COST_FIXED_S + _COST_BYTE_S * size_bytes


def videos_by_id(tree: Tree) -> dict[str, Entry]:
    """name without suffix -> file, of the videos in `videos/`, or at the top where there is no such directory.

    Of several files of one name the first by suffix in VIDEO_SUFFIXES counts.
    """
    files = [entry for entry in tree.entries("videos" if tree.is_directory("videos") else "") if not entry.is_directory]
    found: dict[str, Entry] = {}
    for suffix in reversed(VIDEO_SUFFIXES):
        found |= {entry.name[: -len(suffix)]: entry for entry in files if entry.name.lower().endswith(suffix)}
    return found


def video_of(name: str, videos: dict[str, Entry]) -> Entry:
    """The file of a video that a corpus lists; one that was not downloaded is where it would be."""
    return videos.get(name) or Entry(f"{name}.mp4", f"videos/{name}.mp4", is_directory=False)
