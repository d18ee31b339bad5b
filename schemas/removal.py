"""What was taken out of a data set on request, remembered without saying who it was.

A removed clip leaves a placeholder in the plan and in its shard's marker: `removed/<digest of its key>`, rejected for the
reason `removed`, without identity, video or file. dataset.json remembers the digest of what was asked for, so that a later
planning run leaves out what it matches, also clips that were not planned before.

The digests are pseudonyms: who holds a list of names can try each of them, which is what planning does.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from motionshards.schemas.layout import planned_key
from motionshards.schemas.records import ClipSpec, Span
from motionshards.schemas.typed import check_types

KINDS = ("identity", "video", "key")
_PREFIX = "removed/"


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing that was asked to be taken out.

    kind: the column that was matched: identity, video or key
    digest: of the name, see `digest`
    at: when it was asked for, UTC, ISO 8601
    clips: planned clips that it took out, whether they were kept, rejected or not built yet
    samples: samples that it took out of shards
    finished: whether all of it is gone
    """

    kind: str
    digest: str
    at: str
    clips: int
    samples: int
    finished: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, must be one of {', '.join(KINDS)}")


def digest(kind: str, name: str) -> str:
    """The pseudonym of an identity, video or key: 128 bits of a SHA-256, in hexadecimal."""
    return hashlib.sha256(f"motionshards removal\0{kind}\0{name}".encode()).hexdigest()[:32]


def placeholder_key(key: str) -> str:
    """What stands in place of a planned key. It has two parts, where the keys of clips have three."""
    return _PREFIX + digest("key", key)


def nameless_archive(uri: str) -> str:
    """What stands in place of the uri of an archive that is named after someone who was removed."""
    return _PREFIX + digest("archive", uri)


def is_nameless(uri: str) -> bool:
    """Whether the uri of an archive was replaced by `nameless_archive`."""
    return uri.startswith(_PREFIX)


def is_placeholder(key: str) -> bool:
    """Whether a clip's key is that of a removed one."""
    return key.startswith(_PREFIX) and key.count("/") == 1


def placeholder(source: str, split: str, key: str) -> ClipSpec:
    """What stands in the plan and in markers in place of the planned clip `key`."""
    return ClipSpec(placeholder_key(key), source, split, "", "", (Span(""),), 1.0)


def matching(rows: pa.Table, removals: Iterable[Removal]) -> NDArray[np.bool_]:
    """bool [n]: the rows, with the columns key, identity and video, that were asked to be taken out.

    A row of a tube matches by its own key and by that of the planned clip.
    """
    wanted: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for removal in removals:
        wanted[removal.kind].add(removal.digest)
    found = np.zeros(len(rows), np.bool_)
    for kind, digests in wanted.items():
        if digests:
            found |= _column_matches(rows[kind], kind, digests)
    return found


def _column_matches(column: pa.ChunkedArray, kind: str, digests: set[str]) -> NDArray[np.bool_]:
    """Each name is hashed once, however often it stands."""
    names = [name for name in pc.unique(column).to_pylist() if digests & {digest(kind, part) for part in _names(kind, name)}]
    found: NDArray[np.bool_] = pc.is_in(column, pa.array(names, pa.string())).to_numpy()
    return found


def _names(kind: str, name: str) -> set[str]:
    return {name, planned_key(name)} if kind == "key" else {name}
