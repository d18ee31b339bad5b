"""Records of what was removed from a dataset on request, without naming anyone.

A removed clip leaves a placeholder in the plan and in its shard's marker: `removed/<digest of its key>`, rejected with the
reason `removed`, without identity, video or file. dataset.json keeps the digest of the requested name, so that later planning
runs skip everything it matches, including clips that were not planned before.

The digests are pseudonyms, not anonymous: given a list of names, each can be tested, which is what planning does.
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
    """One removal request.

    kind: the matched column: identity, video or key
    digest: pseudonym of the name, see `digest`
    at: time of the request, UTC, ISO 8601
    clips: number of planned clips removed, whether kept, rejected or not built yet
    samples: number of samples removed from shards
    finished: whether the removal is complete
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
    """The placeholder for a planned key. It has two components; the keys of clips have three."""
    return _PREFIX + digest("key", key)


def nameless_archive(uri: str) -> str:
    """The placeholder for the uri of an archive that is named after a removed person."""
    return _PREFIX + digest("archive", uri)


def is_nameless(uri: str) -> bool:
    """Whether the uri of an archive was replaced by `nameless_archive`."""
    return uri.startswith(_PREFIX)


def is_placeholder(key: str) -> bool:
    """Whether a key is the placeholder of a removed clip."""
    return key.startswith(_PREFIX) and key.count("/") == 1


def placeholder(source: str, split: str, key: str) -> ClipSpec:
    """The entry that replaces the planned clip `key` in the plan and in markers."""
    return ClipSpec(placeholder_key(key), source, split, "", "", (Span(""),), 1.0)


def matching(rows: pa.Table, removals: Iterable[Removal]) -> NDArray[np.bool_]:
    """Mask, bool [n], of the rows (with columns key, identity and video) that match any of the removals.

    The row of a tube matches by its own key and by that of its planned clip.
    """
    removed: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for removal in removals:
        removed[removal.kind].add(removal.digest)
    found = np.zeros(len(rows), np.bool_)
    for kind, digests in removed.items():
        if digests:
            found |= _column_matches(rows[kind], kind, digests)
    return found


def _column_matches(column: pa.ChunkedArray, kind: str, digests: set[str]) -> NDArray[np.bool_]:
    """Hashes each distinct name only once."""
    names = [name for name in pc.unique(column).to_pylist() if digests & {digest(kind, part) for part in _names(kind, name)}]
    found: NDArray[np.bool_] = pc.is_in(column, pa.array(names, pa.string())).to_numpy()
    return found


def _names(kind: str, name: str) -> set[str]:
    return {name, planned_key(name)} if kind == "key" else {name}
