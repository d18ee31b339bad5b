"""What a reader of shards meets when bytes do not come, or come wrong.

MotionShardsError
└── Unreadable       for good: the reader goes on without that clip or shard, and counts it
    └── Transient    for now: `dataset.storage.remote` tries again, and never lets it out
"""

from collections.abc import Generator
from http import HTTPStatus
from typing import TypeAlias

from motionshards.schemas.errors import MotionShardsError

Pieces: TypeAlias = Generator[bytes, None, None]

UNREADABLE = {
    "missing": "it is not there, or not for us: 404, 410, 401, 403",
    "unreachable": "no connection, a connection that breaks or stalls, 429 or 5xx, and that at every try",
    "truncated": "fewer bytes than were promised, at every try",
    "damaged": "other bytes than were promised: by size, CRC-32 or SHA-256",
    "undecodable": "the bytes that were promised, and no frames, sound or array of the right shape",
    "crashed": "reading it ended a process of the loader by a signal",
}
_NOT_FOR_US = (401, 403, 404, 410)
_LATER = (408, 425, 429)


class Unreadable(MotionShardsError):
    """Bytes of a data set that cannot be had. `reason` is a key of UNREADABLE, `detail` is for people and free of credentials."""

    def __init__(self, reason: str, detail: str) -> None:
        if reason not in UNREADABLE:
            raise ValueError(f"unknown reason {reason!r}")
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class Transient(Unreadable):
    """May be otherwise at the next try, for which the server asks to wait `after_s` seconds where it says so."""

    def __init__(self, reason: str, detail: str, after_s: float | None = None) -> None:
        super().__init__(reason, detail)
        self.after_s = after_s


def refusal(status: int, after_s: float | None = None) -> Unreadable:
    """What an HTTP status other than success means for a reader."""
    told = f"{status} {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else str(status)
    if status >= 500 or status in _LATER:
        return Transient("unreachable", told, after_s)
    return Unreadable("missing" if status in _NOT_FOR_US else "unreachable", told)
