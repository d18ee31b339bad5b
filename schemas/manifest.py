"""dataset.json: what a data set is, what made it, and what it holds."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.addition import Addition
from schemas.atomic import write_whole
from schemas.config import BuildConfig
from schemas.errors import DatasetError
from schemas.layout import DATASET_JSON
from schemas.regular_file import open_regular
from schemas.removal import Removal

FORMAT = "motionshards"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A committed shard. `sha256` is None and `bytes` 0 where every clip of the unit was rejected and no tar exists.

    added: numbers of the additions that rewrote it
    """

    name: str
    split: str
    clips: int
    rejected: int
    bytes: int
    sha256: str | None
    added: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "added", tuple(self.added))  # JSON has lists


@dataclass(frozen=True, slots=True)
class Run:
    """One run of dataset.build, also one that was interrupted.

    at: when it ended, UTC
    clips: planned clips whose units it committed
    seconds: without planning
    runner, workers: where it ran; a cluster's workers are not counted, and are 0 here
    """

    at: str
    clips: int
    seconds: float
    runner: str
    workers: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of dataset.json.

    provenance: versions and hashes that decide the bytes
    input: where the videos were read from; informative, not compared
    aus_from: the folder of csv files of action units, where there is one; informative, not compared
    archives: uri of each archive that was planned from -> {uri of a part: its bytes}
    hygiene: what is doubtful about the corpus, as the last planning run found it
    complete: all planned units are committed, and index and counts below are theirs
    counts: planned, kept, rejected (by reason), frames, bytes
    removals: what was taken out on request
    additions: what was added to it once it was finished
    runs: how it was built; informative, and without those that were killed
    """

    config: BuildConfig
    provenance: dict[str, str]
    input: str
    complete: bool = False
    archives: dict[str, dict[str, int]] = field(default_factory=dict)
    hygiene: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    shards: tuple[ShardEntry, ...] = ()
    aus_from: str = ""
    removals: tuple[Removal, ...] = ()
    additions: tuple[Addition, ...] = ()
    runs: tuple[Run, ...] = ()

    @property
    def interrupted(self) -> str | None:
        """What must be finished before anything else is done, in words."""
        if not all(removal.finished for removal in self.removals):
            return "a removal was interrupted, run dataset.remove again"
        if self.addition:
            what = "extend-frames" if self.addition.what == "frames" else f"add {self.addition.what}"
            return f"dataset.build --{what} was interrupted, run it again"
        return None

    @property
    def addition(self) -> Addition | None:
        """The addition that is not finished."""
        return next((addition for addition in self.additions if not addition.finished), None)

    @property
    def unfinished(self) -> str | None:
        """What is to be done before the data set can be read, in words; None where it is finished."""
        return self.interrupted or (None if self.complete else "the build is unfinished, run it again")

    def write(self, out: Path) -> None:
        """Replace OUT/dataset.json in one step."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        write_whole(out, out / DATASET_JSON, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())

    @classmethod
    def read(cls, out: Path) -> "Manifest":
        """Read OUT/dataset.json.

        Raises:
            DatasetError: there is none, or it is not of this format and version
        """
        path = out / DATASET_JSON
        try:
            with open_regular(path) as stream:
                return cls.parse(stream.read(), str(path))
        except FileNotFoundError:
            raise DatasetError(f"{out} holds no data set: {DATASET_JSON} is missing") from None
        except OSError as error:
            raise DatasetError(f"{path} cannot be understood: {error}") from error

    @classmethod
    def parse(cls, content: bytes, path: str) -> "Manifest":
        """The content of dataset.json as a manifest; `path` is for messages. Raises DatasetError."""
        try:
            stored = json.loads(content)
            if stored.pop("format") != FORMAT or stored.pop("format_version") != FORMAT_VERSION:
                raise DatasetError(f"{path} is not of format {FORMAT} version {FORMAT_VERSION}")
            stored["config"] = BuildConfig.from_json(stored["config"])
            stored["shards"] = tuple(ShardEntry(**entry) for entry in stored["shards"])
            stored["removals"] = tuple(Removal(**removal) for removal in stored.get("removals", ()))
            stored["additions"] = tuple(Addition(**addition) for addition in stored.get("additions", ()))
            stored["runs"] = tuple(Run(**run) for run in stored.get("runs", ()))
            return cls(**stored)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise DatasetError(f"{path} cannot be understood: {error}") from error
