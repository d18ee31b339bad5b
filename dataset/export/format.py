"""The protocol of export formats, and the list of formats."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, TypeAlias

from motionshards.dataset.export.clip import StoredClip
from motionshards.dataset.export.directory import ExportDirectory
from motionshards.dataset.export.names import Names
from motionshards.schemas.config import BuildConfig

# Each is a module of this package that defines FORMAT, imported on use.
FORMATS = ("fomm", "frames", "latentsync", "liveportrait", "parquet")

# Reasons for skipping a clip that are faults of the dataset; formats have others for clips that lack something.
UNREADABLE, CRASHED = "unreadable", "crashed"
FAULTS = {UNREADABLE, CRASHED}
TOO_SHORT = "too_short"  # not a fault; used by several formats

# What a format may need -> the addition that provides it.
_ADDITIONS = {"video": "video --input DIR", "audio": "audio --input DIR", "landmarks": "landmarks"}


class ClipSkipped(Exception):
    """A clip lacks something that a format needs; `reason` is an identifier such as `no_sound`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that determines the bytes of an export, besides the dataset and the selection of clips.

    size_px: height and width of the exported frames
    frames: file type of the frames, one of `Format.frames`
    crf: quality of re-encoded video, x264's constant rate factor
    names: names of all exported clips
    """

    size_px: int
    frames: str
    crf: int
    names: Names = field(default=Names())


@dataclass(frozen=True, slots=True)
class ExportedFiles:
    """The files written for a clip.

    files: paths below the export's directory; a folder that belongs to the clip is listed as its path with a trailing slash
    frames: number of exported frames
    """

    files: tuple[str, ...]
    frames: int


Write: TypeAlias = Callable[[StoredClip], ExportedFiles]


class Format(Protocol):
    """A file layout. Instances are stateless: each process has its own.

    version: increased whenever the exported files of the same clips change
    libraries: modules whose versions affect the exported bytes
    splits: splits exported by default; empty for all
    frames: allowed values of --frames, the default first
    encodes: whether video may be re-encoded, so that --crf applies
    by_shard: whether a shard becomes one file, so that a single worker must export it
    """

    version: int
    libraries: tuple[str, ...]
    splits: tuple[str, ...]
    frames: tuple[str, ...]
    encodes: bool
    by_shard: bool

    def refusal(self, config: BuildConfig, settings: Settings) -> str | None:
        """Why a dataset with this config cannot be exported (or one of `libraries` cannot be imported), and the remedy, in one
        line; None if it can."""

    def shard(self, output: ExportDirectory, shard: str, split: str, settings: Settings) -> AbstractContextManager[Write]:
        """Yield a function that writes a clip; it is called for the shard's clips in the order of the index.

        The function raises ClipSkipped for a clip that lacks something, and ValueError for a damaged one. Leaving the context
        completes files that are written per shard.
        """


def missing_data(config: BuildConfig, format: str, *needs: str) -> str | None:
    """The message for the first of `needs` (video, audio, landmarks) that the dataset lacks; None if it lacks none."""
    has = {"video": config.stores_video, "audio": config.stores_audio, "landmarks": config.landmarks != "none"}
    missing = next((one for one in needs if not has[one]), None)
    return missing and f"{format} needs stored {missing}: motionshards build --output OUT --add {_ADDITIONS[missing]}"


def format_of(name: str) -> Format:
    """The format with this name, one of FORMATS."""
    found: Format = import_module(f"motionshards.dataset.export.{name}").FORMAT
    return found
