"""Names on disk: paths of a data set, keys of samples, members of a shard.

OUT/dataset.json, index.parquet, rejections.parquet, README.md, croissant.json
OUT/people.parquet                              only where `dataset.people` wrote it; a removal deletes it
OUT/plan/plan-000000.parquet                    clips in order; later files plan what was added later
OUT/<split>/<source>-<split>-000000.tar         samples (absent when every clip of the unit was rejected)
OUT/<split>/<source>-<split>-000000.parquet     the marker: it exists when the shard is committed
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

# Escaped in the parts of a key, so it stands only where a tube's first frame follows.
TUBE = "@"

# A USTAR header holds a path as prefix/name with 155 and 100 bytes. A key is identity/video/clip and the longest member
# suffix is ".landmark_scores.npy", so these limits always fit, with `@` and a frame number behind the clip.
_DIRECTORY_PART_BYTES = 76
_NAME_PART_BYTES = 66


# Surrogates are how Python represents bytes that are not UTF-8 (U+DC80 to U+DCFF); JSON may hold any of them.
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSAFE_IN_URI = re.compile("[%\x00-\x1f\x7f\ud800-\udfff]")
_UNSAFE_IN_KEY = re.compile("[%@./\\\\\x00-\x1f\x7f\ud800-\udfff]")


def _percent(match: re.Match[str]) -> str:
    is_byte = "\udc80" <= match[0] <= "\udcff"
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape" if is_byte else "surrogatepass"))


def text_of(name: str) -> str:
    """A name of a person or video as valid Unicode: bytes that are not UTF-8 become %XX, everything else stays."""
    return _SURROGATE.sub(_percent, name)


def path_to_uri(path: str) -> str:
    """A file path below the input root as text that any parquet reader can hold. Readable names stay as they are."""
    return _UNSAFE_IN_URI.sub(_percent, path)


def uri_to_path(uri: str) -> str:
    """Inverse of `path_to_uri`. Raises DatasetError: the path is absolute or leaves the root through `..`."""
    path = unescaped(uri)
    if path.startswith("/") or "\0" in path or ".." in PurePosixPath(path).parts:
        raise DatasetError(f"{uri!r} is not a path below the input")
    return path


def unescaped(text: str) -> str:
    """A uri or key without its percent escapes; it may be any path."""
    return os.fsdecode(unquote_to_bytes(text))


def key_part(name: str) -> str:
    """An identity or video as it is spelt in keys."""
    return _key_part(name, _DIRECTORY_PART_BYTES)


def _key_part(name: str, limit: int) -> str:
    """One component of a key: dots and slashes escaped, shortened where it would not fit a tar header."""
    return shortened(_UNSAFE_IN_KEY.sub(_percent, name), limit)


def shortened(name: str, limit: int) -> str:
    """The name itself, or as much of it as leaves room for a hash of it within `limit` bytes of UTF-8."""
    # A shortened name is limit - 3 to limit bytes long, so names of that length are shortened too: no two then agree.
    if len(name) * 4 < limit - 3 or len(name.encode()) < limit - 3:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return name.encode()[: limit - 17].decode("utf-8", "ignore") + "-" + digest


def clip_key(identity: str, video: str, clip: str) -> str:
    """The key `identity/video/clip`; WebDataset ends a key at the first dot of the last component."""
    return f"{_video_key(identity, video)}/{_key_part(clip, _NAME_PART_BYTES)}"


def tube_key(key: str, start: int, number: int = 1) -> str:
    """The key of the tube that begins at frame `start` in the file of a planned clip; `number` counts those that begin there."""
    return f"{key}{TUBE}{start:06d}" + (f"-{number}" if number > 1 else "")


def tube_start(key: str) -> int:
    """The frame at which the tube of a key begins."""
    return int(key.rpartition(TUBE)[2].partition("-")[0])


def planned_key(key: str) -> str:
    """The key of the planned clip from which a sample came: itself, but for tubes."""
    return key.partition(TUBE)[0]


@functools.lru_cache(maxsize=16)
def _video_key(identity: str, video: str) -> str:
    """Cached, since the clips of a video are listed one after the other."""
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
    """The size of a still or video at a smaller size; None for other members."""
    found = re.fullmatch(r"([1-9]\d{1,3})\.(?:\d{3}\.jpg|mp4)", suffix, re.ASCII)
    return int(found[1]) if found else None


def smaller_of(sizes: Sequence[int], size: int | None) -> int | None:
    """The smaller size at which frames of `size` px are stored; None for the first of the stored `sizes`, the dataset's, which is
    the default. Raises ConfigError: there are no such frames."""
    if size not in (None, *sizes):
        raise ConfigError(f"size is {size!r}, and frames are stored at {' and '.join(map(str, sizes))} px")
    return None if size in (None, sizes[0]) else sizes[sizes.index(size)]


def suffix_at(suffix: str, smaller_px: int | None) -> str | None:
    """The suffix under which a reader of one size handles a member: stills and video of the smaller size have the suffixes of the
    dataset's size, those of all other sizes None."""
    own = smaller_size(suffix)
    if own != smaller_px and (own is not None or suffix == VIDEO or is_main_frame(suffix)):
        return None
    return suffix if own is None else suffix.removeprefix(f"{own}.")


def shard_name(source: str, split: str, number: int) -> str:
    """`voxceleb2-train-000000`"""
    return f"{source}-{split}-{number:06d}"


def is_plain_name(name: str) -> bool:
    """Whether a name is one component of a path that stays where it is put, and is not hidden."""
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name and len(os.fsencode(name)) < 240


def _shard_path(out: Path, split: str, name: str, suffix: str) -> Path:
    """A file of a shard. Raises DatasetError: split or name, which can come from a hostile data set, would lead elsewhere."""
    for part in (split, name):
        if not is_plain_name(part):
            raise DatasetError(f"{part!r} cannot be the name of a split or shard")
    return out / split / f"{name}{suffix}"


def tar_path(out: Path, split: str, name: str) -> Path:
    """The shard's tar. Raises DatasetError, as the next two do: split or name is not a plain name."""
    return _shard_path(out, split, name, ".tar")


def marker_path(out: Path, split: str, name: str) -> Path:
    """The shard's marker."""
    return _shard_path(out, split, name, ".parquet")


def next_marker_path(out: Path, split: str, name: str) -> Path:
    """The marker that takes the place of the shard's when its tar has been replaced; there for a moment only."""
    return _shard_path(out, split, name, ".parquet.next")


def plan_path(out: Path, number: int) -> Path:
    """The plan file of one planning run."""
    return out / PLAN_DIR / f"plan-{number:06d}.parquet"
