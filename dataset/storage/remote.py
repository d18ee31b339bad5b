"""Reads a dataset at a URL: byte ranges, small files and whole shards, with retries.

    remote = Remote("https://example.org/voxceleb2")
    manifest = remote.read_all("dataset.json")
    clip = remote.read("train/voxceleb2-train-000000.tar", 512, 81_920)

http and https use urllib3, s3 uses boto3, all other schemes use fsspec (`remote_*.py`); this module decides what is retried, from
which byte, and when to give up. Transfers have no total time limit: a slow connection is not a failure, a stalled one is.
"""

import io
import logging
import os
import random
import re
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from motionshards.dataset.storage.unreadable import Pieces, Transient, Unreadable
from motionshards.schemas.bucket import EXTRAS
from motionshards.schemas.errors import ConfigError

_PROGRESS_BYTES = 1 << 20
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LOG = logging.getLogger(__name__)
_RANDOM = random.SystemRandom()  # stateless: changes no seeded generator, and processes do not wait in lockstep


def is_url(where: str) -> bool:
    """Whether this is the URL of a remote dataset: any scheme except file."""
    found = _URL.match(where)
    return found is not None and found[1].lower() != "file"


def shown(url: str) -> str:
    """A URL for messages, without user, password, query and fragment; paths are returned unchanged."""
    if "://" not in url:
        return url
    scheme, _, rest = url.partition("://")
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How network reads are retried.

    attempts: consecutive attempts with less than 1 MiB of progress in total before giving up
    first_wait_s: pause after the first failure, in seconds; doubles with each failure, with random jitter of up to half
    most_wait_s: longest pause, in seconds, even if a server requests more with Retry-After
    stall_s: time without data after which a connection counts as broken, in seconds
    """

    attempts: int = 6
    first_wait_s: float = 0.5
    most_wait_s: float = 30.0
    stall_s: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_wait_s < 0 or self.most_wait_s < 0 or self.stall_s <= 0:
            raise ConfigError(f"{self}: attempts must be at least 1, stall_s positive, and pauses not negative")

    def wait_s(self, failures: int, requested_s: float | None = None) -> float:
        """Seconds to wait after this many consecutive failures, at least what the server requested, at most `most_wait_s`."""
        pause = self.first_wait_s * 2 ** min(failures - 1, 32) * _RANDOM.uniform(0.5, 1)
        return float(min(self.most_wait_s, max(pause, requested_s or 0)))


class Store(Protocol):
    """One kind of server, without retries."""

    def pieces(self, path: str, start: int, stop: int | None) -> Pieces:
        """Yield the bytes [start, stop) of a file, or up to its end, in pieces. May end early if the server does.

        Raises:
            Transient: the read failed, but may succeed when retried
            Unreadable: the read failed permanently
        """


class Remote:
    """The files below a root URL. Thread-safe; after a fork or unpickling, a process opens its own connections."""

    def __init__(self, root: str, retry: Retry = Retry(), storage_options: Mapping[str, Any] | None = None) -> None:
        """storage_options: for http, `headers`; for s3, arguments of `boto3.client`, `profile_name` and `anon=True` for public
            buckets; for other schemes, options of the fsspec file system

        Raises:
            ConfigError: the URL is invalid, options are unknown, or the package for its scheme is not installed
        """
        self._arguments = (root, retry, dict(storage_options or {}))
        self._retry = retry
        self._building = threading.Lock()
        self.where = shown(root)
        self._of_process = os.getpid(), _store(*self._arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return Remote, self._arguments

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Read exactly the bytes [start, stop) of root/path. Raises Unreadable."""
        into = io.BytesIO()
        self._copy(path, into, start, stop)
        return into.getvalue()

    def read_all(self, path: str) -> bytes:
        """Read a whole small file. Raises Unreadable."""
        into = io.BytesIO()
        self._copy(path, into, 0, None)
        return into.getvalue()

    def fetch(self, path: str, to: BinaryIO, size: int) -> None:
        """Write the `size` bytes of a file to `to`, in order; a broken transfer is resumed where it broke.

        Raises:
            Unreadable: the file cannot be read, or is too short
            OSError: writing to `to` failed
        """
        self._copy(path, to, 0, size)

    def _copy(self, path: str, to: BinaryIO, at: int, stop: int | None) -> None:
        attempts = _Attempts(self._retry, f"{self.where.rstrip('/')}/{path}", at)
        while at != stop:
            try:
                with closing(self._store.pieces(path, at, stop)) as pieces:
                    for piece in pieces:
                        if stop is not None and at + len(piece) > stop:
                            raise Transient("damaged", f"more bytes than those up to {stop}")
                        to.write(piece)
                        at += len(piece)
                if stop is None:
                    return
                if at < stop:
                    raise Transient("truncated", f"{at} of {stop} bytes")
            except Unreadable as error:
                attempts.wait(error, at)

    @property
    def _store(self) -> Store:
        """The store of this process: connections must not be shared with the parent process."""
        if self._of_process[0] != os.getpid():
            with self._building:
                if self._of_process[0] != os.getpid():
                    self._of_process = os.getpid(), _store(*self._arguments)
        return self._of_process[1]


class _Attempts:
    """Counts failures of one transfer since its last progress."""

    def __init__(self, retry: Retry, what: str, at: int) -> None:
        self._retry, self._what, self._mark, self._failures = retry, what, at, 0

    def wait(self, error: Unreadable, at: int) -> None:
        """Sleep before the next attempt, or raise Unreadable."""
        if at - self._mark >= _PROGRESS_BYTES:
            self._mark, self._failures = at, 0
        self._failures += 1
        if not isinstance(error, Transient):
            raise Unreadable(error.reason, f"{self._what}: {error.detail}") from None
        if self._failures >= self._retry.attempts:
            raise Unreadable(error.reason, f"{self._what}: {error.detail}; gave up after {self._failures} attempts") from None
        pause_s = self._retry.wait_s(self._failures, error.after_s)
        _LOG.info("%s: %s at byte %d; attempt %d in %.1f s", self._what, error.detail, at, self._failures + 1, pause_s)
        time.sleep(pause_s)


def _store(root: str, retry: Retry, options: dict[str, Any]) -> Store:
    """Create the store for a URL. Packages are imported here, as reading from disk does not need them."""
    scheme = root.partition("://")[0].lower()
    try:
        if scheme in ("http", "https"):
            from motionshards.dataset.storage.remote_http import HttpStore

            return HttpStore(root, retry.stall_s, options)
        if scheme in ("s3", "s3a", "s3n"):
            from motionshards.dataset.storage.remote_s3 import S3Store

            return S3Store(root, retry.stall_s, options)
        from motionshards.dataset.storage.remote_fsspec import FsspecStore

        return FsspecStore(root, options)
    except ImportError as error:
        needed = error.name or "that fsspec requires for it"
        raise ConfigError(f"{scheme}:// needs the package {needed}; {EXTRAS}") from error
