"""dataset.json: settings, provenance and contents of a dataset.

Format version 2 added digests: of dataset.json itself, of the files that it lists, of each marker, and of everything that
determines the bytes of a shard. Version 1 can still be read; a command that writes to such a dataset upgrades it first
(`pipeline.upgrade`).
"""

import dataclasses
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motionshards.schemas.atomic import write_whole
from motionshards.schemas.config import BuildConfig, differences
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import DATASET_JSON, is_plain_name, text_of
from motionshards.schemas.reasons import advice
from motionshards.schemas.regular_file import open_regular
from motionshards.schemas.removal import Removal
from motionshards.schemas.typed import check_types

FORMAT = "motionshards"
FORMAT_VERSION = 2
_MAX_BYTES = 2**28
READABLE = (1, FORMAT_VERSION)
_SHA256 = re.compile("[0-9a-f]{64}")


def digest_of(content: dict[str, Any]) -> str:
    """SHA-256 of JSON data, independent of formatting and key order."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def made_by(config: BuildConfig, provenance: dict[str, str]) -> str:
    """Digest of everything that determines the bytes of a shard; recorded in every shard's entry."""
    return digest_of({"config": config.changed(), "provenance": provenance})


@dataclass(frozen=True, slots=True)
class Addition:
    """One addition (`--add`, `--extend-frames`, `--drop`). `ShardEntry.added` lists its number for each shard it has rewritten.

    number: from 1, in the order in which the additions were requested
    what: `landmarks`, `aus`, `identity`, `no-identity` (drops the descriptors), `quality`, `frames`, `video`, `audio` or `speech`
    at: time of the request, UTC, ISO 8601
    pixels: what it was computed from; a build computes from decoded frames, before JPEG encoding
    config: the config fields that it changes, with their new values
    provenance: versions and hashes that determine the added data
    finished: whether all shards have been rewritten
    """

    number: int
    what: str
    at: str
    pixels: str
    config: dict[str, Any]
    provenance: dict[str, str]
    finished: bool = False

    def __post_init__(self) -> None:
        check_types(self)

    def same_as(self, other: "Addition") -> bool:
        """Whether both add the same data, regardless of when they were requested."""
        names = ("what", "pixels", "config", "provenance")
        return all(getattr(self, name) == getattr(other, name) for name in names)


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A committed shard. `sha256` is None and `bytes` 0 if every clip of the unit was rejected, so that there is no tar.

    added: numbers of the additions that rewrote it
    made_by: digest of the config and provenance it was built with, see `made_by`; None if built with format version 1
    marker_sha256: digest of its marker, see `schemas.marker`; absent from the copy within the marker; None in version 1
    """

    name: str
    split: str
    clips: int
    rejected: int
    bytes: int
    sha256: str | None
    added: tuple[int, ...] = ()
    made_by: str | None = None
    marker_sha256: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "added", tuple(self.added))  # JSON has lists
        check_types(self)
        for part in (self.name, self.split):
            if not is_plain_name(part):
                raise ValueError(f"{part[:100]!r} is not a valid name of a split or shard")
        for name in ("clips", "rejected", "bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} of {self.name} is {getattr(self, name)}")
        for name in ("sha256", "made_by", "marker_sha256"):
            if (digest := getattr(self, name)) is not None and not _SHA256.fullmatch(digest):
                raise ValueError(f"{name} of {self.name} is {digest[:100]!r}, must be 64 hexadecimal digits")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of dataset.build, finished or interrupted.

    at: end of the run, UTC, ISO 8601
    clips: planned clips whose units it committed
    seconds: wall time, excluding planning
    runner, workers: runner and number of worker processes; 0 workers for a cluster
    """

    at: str
    clips: int
    seconds: float
    runner: str
    workers: int

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of dataset.json.

    provenance: versions and hashes that determine the bytes
    input: where the videos were read from; informative, not compared
    aus_from: folder of csv files of action units, if any; informative, not compared
    archives: uri of each planned archive -> {uri of a part: its size in bytes}
    hygiene: findings about the corpus in the last planning run (duplicates, identities in several splits)
    left_out: suffix or reason -> number of input files that no clip uses, in the last planning run
    complete: whether all planned units are committed; `counts` and the index then cover all of them
    counts: planned, kept, rejected (by reason), frames, bytes
    removals: identities, videos and clips removed on request
    additions: data added after the build was finished
    runs: the build runs, except killed ones; informative
    files: sha256 of the plan files and, once finished, of index, rejections, croissant.json and README.md
    format_version: version that was read; `write` always writes the newest
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
    files: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        check_types(self)
        if len({entry.name for entry in self.shards}) != len(self.shards):
            raise ValueError("shards: duplicate name")

    @property
    def made_by(self) -> str:
        """Digest of everything that determines the bytes of its shards."""
        return made_by(self.config, self.provenance)

    def changed(self, config: BuildConfig, provenance: dict[str, str]) -> list[str]:
        """Differences from another build's settings and versions, as `name: old -> new`."""
        return differences(self.config.to_json(), config.to_json()) + differences(self.provenance, provenance)

    @property
    def advice(self) -> list[str]:
        """Hints if many clips were rejected for their face (see `reasons.advice`) or no clip has the requested audio."""
        kept = self.counts["kept"]
        silent = kept and self.config.stores_audio and not self.counts["sound_hours"]
        return advice(kept, self.counts["rejected"], self.config) + [f"none of {kept} clips has audio"] * bool(silent)

    @property
    def interrupted(self) -> str | None:
        """Message about an interrupted removal or addition that must be finished first; None if there is none."""
        if not all(removal.finished for removal in self.removals):
            return "a removal was interrupted; run dataset.remove again"
        if self.addition:
            others = {"frames": "extend-frames", "no-identity": "drop identity"}
            what = others.get(self.addition.what, f"add {self.addition.what}")
            return f"dataset.build --{what} was interrupted; run it again"
        return None

    @property
    def addition(self) -> Addition | None:
        """The unfinished addition, if any."""
        return next((addition for addition in self.additions if not addition.finished), None)

    @property
    def unfinished(self) -> str | None:
        """Message about what must be finished before the dataset can be read; None if it is finished."""
        return self.interrupted or (None if self.complete else "the build is unfinished; run it again")

    def write(self, out: Path) -> None:
        """Replace OUT/dataset.json atomically."""
        fields = {"format": FORMAT, **dataclasses.asdict(self), "config": self.config.to_json(), "format_version": FORMAT_VERSION}
        content = json.loads(text_of(json.dumps(fields, ensure_ascii=False)))  # paths may hold bytes that are not UTF-8
        content["sha256"] = digest_of(content)
        write_whole(out, out / DATASET_JSON, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())

    @classmethod
    def read(cls, out: Path) -> "Manifest":
        """Read OUT/dataset.json.

        Raises:
            DatasetError: it is missing, invalid, or of an unsupported format version
        """
        path = out / DATASET_JSON
        try:
            with open_regular(path) as stream:
                if os.fstat(stream.fileno()).st_size > _MAX_BYTES:
                    raise DatasetError(f"{path} cannot be parsed: it is larger than {_MAX_BYTES} bytes")
                return cls.parse(stream.read(), str(path))
        except (FileNotFoundError, NotADirectoryError):
            raise DatasetError(_why_missing(out)) from None
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error}") from error

    @classmethod
    def parse(cls, content: bytes, path: str) -> "Manifest":
        """Parse the content of dataset.json; `path` is for messages. Raises DatasetError."""
        try:
            stored = json.loads(content)
            if stored.pop("format") != FORMAT or stored["format_version"] not in READABLE:
                raise DatasetError(f"{path} is not of format {FORMAT} version {' or '.join(map(str, READABLE))}")
            stored.pop("sha256", None)
            stored["config"] = BuildConfig.from_json(stored["config"])
            stored["shards"] = tuple(ShardEntry(**entry) for entry in stored["shards"])
            stored["removals"] = tuple(Removal(**removal) for removal in stored.get("removals", ()))
            stored["additions"] = tuple(Addition(**addition) for addition in stored.get("additions", ()))
            stored["runs"] = tuple(Run(**run) for run in stored.get("runs", ()))
            return cls(**stored)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise DatasetError(f"{path} cannot be parsed: {error}") from error


def _why_missing(out: Path) -> str:
    if not out.is_dir():
        return f"{out} is not a directory" if out.exists() else f"{out} does not exist"
    inside = sorted(str(path.parent) for path in out.glob(f"*/{DATASET_JSON}"))
    meant = f"; did you mean {' or '.join(inside[:3])}?" if inside else ""
    return f"{out} holds no dataset: {DATASET_JSON} is missing{meant}"


def damage(content: bytes) -> str | None:
    """Message if the digest of dataset.json does not match its content; None if it matches, or in version 1.

    Raises DatasetError: it cannot be parsed.
    """
    version = Manifest.parse(content, DATASET_JSON).format_version
    stored = json.loads(content)
    recorded = stored.pop("sha256", None)
    if version == 1 or recorded == digest_of(stored):
        return None
    return "is damaged or was edited: its sha256 does not match its content"
