"""dataset.json: what a data set is, what made it, and what it holds."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.atomic import write_whole
from schemas.config import BuildConfig
from schemas.errors import DatasetError
from schemas.layout import DATASET_JSON

FORMAT = "motionshards"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A committed shard. `sha256` is None and `bytes` 0 where every clip of the unit was rejected and no tar exists."""

    name: str
    split: str
    clips: int
    rejected: int
    bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of dataset.json.

    provenance: versions and hashes that decide the bytes
    input: where the videos were read from; informative, not compared
    archives: uri of each archive that was planned from -> {uri of a part: its bytes}
    hygiene: what is doubtful about the corpus, as the last planning run found it
    complete: all planned units are committed, and index and counts below are theirs
    counts: planned, kept, rejected (by reason), frames, bytes
    """

    config: BuildConfig
    provenance: dict[str, str]
    input: str
    complete: bool = False
    archives: dict[str, dict[str, int]] = field(default_factory=dict)
    hygiene: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    shards: tuple[ShardEntry, ...] = ()

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
            stored = json.loads(path.read_bytes())
            if stored.pop("format") != FORMAT or stored.pop("format_version") != FORMAT_VERSION:
                raise DatasetError(f"{path} is not of format {FORMAT} version {FORMAT_VERSION}")
            stored["config"] = BuildConfig.from_json(stored["config"])
            stored["shards"] = tuple(ShardEntry(**entry) for entry in stored["shards"])
            return cls(**stored)
        except FileNotFoundError:
            raise DatasetError(f"{out} holds no data set: {DATASET_JSON} is missing") from None
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            raise DatasetError(f"{path} cannot be understood: {error}") from error
