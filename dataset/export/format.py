"""What a format of exports is, and which there are."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, TypeAlias

from motionshards.dataset.export.clip import StoredClip
from motionshards.dataset.export.names import Names
from motionshards.dataset.export.place import Place
from motionshards.schemas.config import BuildConfig

# Each is a module of this package with a FORMAT, imported when it is used.
FORMATS = ("fomm", "frames", "latentsync", "liveportrait", "parquet")

# Reasons why a clip is left out that are faults of the dataset; formats have others for clips that lack something.
UNREADABLE, CRASHED = "unreadable", "crashed"
FAULTS = {UNREADABLE, CRASHED}
TOO_SHORT = "too_short"  # not a fault, but of several formats

# What a format may need of a dataset -> what adds it.
_ADDITIONS = {"video": "video --input DIR", "audio": "audio --input DIR", "landmarks": "landmarks"}


class LeftOut(Exception):
    """A clip lacks what a format needs; `reason` is one word, such as `no_sound`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the bytes of an export, beside the dataset and the choice of clips.

    size_px: height and width of the exported frames
    frames: how frames are written, one of `Format.frames`
    crf: quality of video that has to be encoded, x264's constant rate factor
    names: of all clips of the export
    """

    size_px: int
    frames: str
    crf: int
    names: Names = field(default=Names())


@dataclass(frozen=True, slots=True)
class Made:
    """What was written for a clip.

    files: paths below the export's directory; of a folder that holds nothing else, its own with a slash at the end
    frames: number of frames
    """

    files: tuple[str, ...]
    frames: int


Write: TypeAlias = Callable[[StoredClip], Made]


class Format(Protocol):
    """A file layout. Its instances are stateless: each process has one.

    version: increased whenever the same clips become other files
    libraries: modules whose versions decide the bytes
    splits: exported by default; empty for all
    frames: allowed values of --frames, the default first
    encodes: whether video may have to be encoded, so that --crf applies
    by_shard: whether a shard becomes one file, so that one worker has to export all of it
    """

    version: int
    libraries: tuple[str, ...]
    splits: tuple[str, ...]
    frames: tuple[str, ...]
    encodes: bool
    by_shard: bool

    def refusal(self, config: BuildConfig, settings: Settings) -> str | None:
        """Why a dataset built so cannot be exported, and what to do about it, in one line; None where it can be.

        Also where one of `libraries` cannot be imported.
        """

    def shard(self, place: Place, shard: str, split: str, settings: Settings) -> AbstractContextManager[Write]:
        """Give a function that writes a clip of the shard; it is called for each in the order of the index.

        The function raises LeftOut for a clip that lacks something, and ValueError for one that is damaged. Leaving the
        context completes what is written per shard.
        """


def lack(config: BuildConfig, format: str, *needs: str) -> str | None:
    """What a dataset built so lacks of `needs` (video, audio, landmarks), and how to add it; None where all is there."""
    has = {"video": config.moving, "audio": config.sounding, "landmarks": config.landmarks != "none"}
    missing = next((one for one in needs if not has[one]), None)
    return missing and f"{format} needs stored {missing}: motionshards build --output OUT --add {_ADDITIONS[missing]}"


def format_of(name: str) -> Format:
    """The format of this name, one of FORMATS."""
    found: Format = import_module(f"motionshards.dataset.export.{name}").FORMAT
    return found
