"""Names on disk: paths of a dataset, keys of samples, member names of a shard.

OUT/dataset.json, index.parquet, rejections.parquet, README.md, croissant.json
OUT/people.parquet                              only if written by `dataset.people`; a removal deletes it
OUT/plan/plan-000000.parquet                    clips in order; one more file per later planning run
OUT/<split>/<source>-<split>-000000.tar         samples (absent if every clip of the unit was rejected)
OUT/<split>/<source>-<split>-000000.parquet     the marker: exists once the shard is committed
OUT/.work/                                      temporary files of a running build
"""

import functools
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_to_bytes

from motionshards.schemas.errors import ConfigError, DatasetError

DATASET_JSON = "dataset.json"
INDEX = "index.parquet"
REJECTIONS = "rejections.parquet"
CARD = "README.md"
CROISSANT = "croissant.json"
REPORT = "report.html"
PEOPLE = "people.parquet"
PLAN_DIR = "plan"
WORK_DIR = ".work"
LOCK = ".writer"

# Directories of OUT that hold shards.
SPLITS = ("train", "val", "test")

META = "meta.json"
LANDMARKS = "landmarks.npy"
LANDMARK_SCORES = "landmark_scores.npy"
AUS = "aus.npy"
AUS_SEQUENCE = "aus_sequence.npy"
IDENTITY = "identity.npy"
IDENTITY_NUMBERS = 128
VIDEO = "mp4"
MAIN_FRAME = r"^[^.]+\.jpg$"
"""Regular expression of `is_main_frame`, for Python and Arrow."""
SOUND = "flac"
VIDEO_FRAMES = "frames.npy"
POINTS = "points.npy"
POINT_SCORES = "point_scores.npy"

# Escaped in the components of a key, so it only occurs as the separator before a tube's first frame.
TUBE = "@"

# A USTAR header stores a path as prefix/name with 155 and 100 bytes. A key is identity/video/clip and the longest member
# suffix is ".landmark_scores.npy", so these limits always fit, including `@` and a frame number after the clip.
_DIRECTORY_PART_BYTES = 76
_NAME_PART_BYTES = 66


# Python represents bytes that are not UTF-8 as surrogates (U+DC80 to U+DCFF); JSON may contain any surrogate.
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSAFE_IN_URI = re.compile("[%\x00-\x1f\x7f\ud800-\udfff]")
_UNSAFE_IN_KEY = re.compile("[%@./\\\\\x00-\x1f\x7f\ud800-\udfff]")


def _percent(match: re.Match[str]) -> str:
    is_byte = "\udc80" <= match[0] <= "\udcff"
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape" if is_byte else "surrogatepass"))


def text_of(name: str) -> str:
    """Make a name valid Unicode: bytes that are not UTF-8 become %XX, everything else is unchanged."""
    return _SURROGATE.sub(_percent, name)


def path_to_uri(path: str) -> str:
    """Encode a file path below the input root as valid Unicode, for parquet. Printable names are unchanged."""
    return _UNSAFE_IN_URI.sub(_percent, path)


def uri_to_path(uri: str) -> str:
    """Inverse of `path_to_uri`. Raises DatasetError: the path is absolute or contains `..`."""
    path = unescaped(uri)
    if path.startswith("/") or "\0" in path or ".." in PurePosixPath(path).parts:
        raise DatasetError(f"{uri!r} is not a path below the input")
    return path


def unescaped(text: str) -> str:
    """Decode the percent escapes of a uri or key. The result may be any path."""
    return os.fsdecode(unquote_to_bytes(text))


def key_part(name: str) -> str:
    """An identity or video as it appears in keys."""
    return _key_part(name, _DIRECTORY_PART_BYTES)


def _key_part(name: str, limit: int) -> str:
    """One component of a key: dots and slashes escaped, shortened if it would not fit a tar header."""
    return shortened(_UNSAFE_IN_KEY.sub(_percent, name), limit)


def shortened(name: str, limit: int) -> str:
    """The name itself, or a prefix of it followed by its hash, within `limit` bytes of UTF-8."""
    # A shortened name has limit - 3 to limit bytes, so names of that length are shortened too, to rule out collisions.
    if len(name) * 4 < limit - 3 or len(name.encode()) < limit - 3:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return name.encode()[: limit - 17].decode("utf-8", "ignore") + "-" + digest


def clip_key(identity: str, video: str, clip: str) -> str:
    """The key `identity/video/clip`, without dots: WebDataset ends a key at the first dot of the last component."""
    return f"{_video_key(identity, video)}/{_key_part(clip, _NAME_PART_BYTES)}"


def tube_key(key: str, start: int, number: int = 1) -> str:
    """Key of the tube that starts at frame `start` of a planned clip's file; `number` counts the tubes that start there."""
    return f"{key}{TUBE}{start:06d}" + (f"-{number}" if number > 1 else "")


def tube_start(key: str) -> int:
    """First frame of the tube with this key."""
    return int(key.rpartition(TUBE)[2].partition("-")[0])


def planned_key(key: str) -> str:
    """Key of the planned clip that a sample was built from: the key itself, except for tubes."""
    return key.partition(TUBE)[0]


@functools.lru_cache(maxsize=16)
def _video_key(identity: str, video: str) -> str:
    """Cached, since the clips of a video are listed consecutively."""
    return f"{key_part(identity)}/{key_part(video)}"


def frame_suffix(number: int, size_px: int | None = None) -> str:
    """Member suffix of still `number`: `000.jpg`, or `256.000.jpg` at a smaller size."""
    return _sized(f"{number:03d}.jpg", size_px)


def video_suffix(size_px: int | None = None) -> str:
    """Member suffix of the video: `mp4`, or `256.mp4` at a smaller size."""
    return _sized(VIDEO, size_px)


def _sized(suffix: str, size_px: int | None) -> str:
    return suffix if size_px is None else f"{size_px}.{suffix}"


def is_main_frame(suffix: str) -> bool:
    """Whether a member is a still at the dataset's size, not at a smaller one."""
    return re.fullmatch(MAIN_FRAME, suffix) is not None


def smaller_size(suffix: str) -> int | None:
    """Size in pixels of a still or video at one of the smaller sizes; None for other members."""
    found = re.fullmatch(r"([1-9]\d{1,3})\.(?:\d{3}\.jpg|mp4)", suffix, re.ASCII)
    return int(found[1]) if found else None


def smaller_of(sizes: Sequence[int], size: int | None) -> int | None:
    """Resolve a requested size: one of the smaller stored sizes, or None for the first of `sizes`, which is the default.

    Raises ConfigError: no frames are stored at `size`.
    """
    if size not in (None, *sizes):
        raise ConfigError(f"size is {size!r}, but frames are stored at {' and '.join(map(str, sizes))} px")
    return None if size in (None, sizes[0]) else sizes[sizes.index(size)]


def suffix_at(suffix: str, smaller_px: int | None) -> str | None:
    """Map a member suffix for a reader of one size: stills and video of that size get the suffixes of the dataset's main size.

    Returns None for stills and video of any other size.
    """
    own = smaller_size(suffix)
    if own != smaller_px and (own is not None or suffix == VIDEO or is_main_frame(suffix)):
        return None
    return suffix if own is None else suffix.removeprefix(f"{own}.")


def shard_name(source: str, split: str, number: int) -> str:
    """`voxceleb2-train-000000`"""
    return f"{source}-{split}-{number:06d}"


def is_plain_name(name: str) -> bool:
    """Whether a name is a single path component that is not hidden and not `..`."""
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name and len(os.fsencode(name)) < 240


def _shard_path(out: Path, split: str, name: str, suffix: str) -> Path:
    """A file of a shard. Raises DatasetError: split or name, which may come from an untrusted dataset, is not a plain name."""
    for part in (split, name):
        if not is_plain_name(part):
            raise DatasetError(f"{part!r} is not a valid name of a split or shard")
    return out / split / f"{name}{suffix}"


def tar_path(out: Path, split: str, name: str) -> Path:
    """The tar of a shard. This and the next two functions raise DatasetError: split or name is not a plain name."""
    return _shard_path(out, split, name, ".tar")


def marker_path(out: Path, split: str, name: str) -> Path:
    """The marker of a shard."""
    return _shard_path(out, split, name, ".parquet")


def next_marker_path(out: Path, split: str, name: str) -> Path:
    """The new marker of a shard while its tar is being replaced; renamed to `marker_path` right after."""
    return _shard_path(out, split, name, ".parquet.next")


def plan_path(out: Path, number: int) -> Path:
    """The plan file of one planning run."""
    return out / PLAN_DIR / f"plan-{number:06d}.parquet"
