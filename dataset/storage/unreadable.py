"""Errors of reading shards.

MotionShardsError
└── Unreadable       permanent: the reader substitutes the clip and counts it
    └── Transient    temporary: `dataset.storage.remote` retries, and never propagates it
"""

from collections.abc import Generator
from http import HTTPStatus
from typing import TypeAlias

from motionshards.schemas.errors import MotionShardsError

Pieces: TypeAlias = Generator[bytes, None, None]

UNREADABLE = {
    "missing": "does not exist, or access is denied: 404, 410, 401, 403",
    "unreachable": "no connection, a broken or stalled connection, 429 or 5xx, in every attempt",
    "truncated": "fewer bytes than expected, in every attempt",
    "damaged": "size, CRC-32 or SHA-256 differ from those expected",
    "undecodable": "the expected bytes, but they are not frames, sound or an array of the right shape",
    "crashed": "reading it killed a process of the loader by a signal",
}
_MISSING = (401, 403, 404, 410)
_LATER = (408, 425, 429)


class Unreadable(MotionShardsError):
    """Bytes of a dataset cannot be read. `reason` is a key of UNREADABLE; `detail` is for users, without credentials."""

    def __init__(self, reason: str, detail: str) -> None:
        if reason not in UNREADABLE:
            raise ValueError(f"unknown reason {reason!r}")
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class Transient(Unreadable):
    """A read that may succeed when retried, after `after_s` seconds if the server requests a pause."""

    def __init__(self, reason: str, detail: str, after_s: float | None = None) -> None:
        super().__init__(reason, detail)
        self.after_s = after_s


def refusal(status: int, after_s: float | None = None) -> Unreadable:
    """The error for an HTTP status other than success."""
    detail = f"{status} {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else str(status)
    if status >= 500 or status in _LATER:
        return Transient("unreachable", detail, after_s)
    return Unreadable("missing" if status in _MISSING else "unreachable", detail)
