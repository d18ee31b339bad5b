"""Bytes of a data set behind a URL: ranges, small files and whole shards, each tried again while there is hope.

    remote = Remote("https://example.org/voxceleb2")
    manifest = remote.read_all("dataset.json")
    clip = remote.read("train/voxceleb2-train-000000.tar", 512, 81_920)

http and https go through urllib3, s3 through boto3, any other scheme through fsspec (`dataset/remote_*.py`); this file decides
what is tried again, from which byte, and when to give up. No transfer has a limit on its whole time: a gigabyte over a slow line
is no failure, a line on which nothing comes is.
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
_CHANCE = random.SystemRandom()  # has no state, so nobody's seed moves and no two processes wait in step


def is_url(where: str) -> bool:
    """Whether a data set is reached over the network: a URL of any scheme but file."""
    found = _URL.match(where)
    return found is not None and found[1].lower() != "file"


def shown(url: str) -> str:
    """A URL as people may see it, without user, password, query and fragment; paths as they are."""
    if "://" not in url:
        return url
    scheme, _, rest = url.partition("://")
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When to try again.

    attempts: tries in a row that bring less than 1 MiB together, before giving up
    first_wait_s: pause after the first failure; doubles from try to try, and half of it is chance
    most_wait_s: no pause is longer, whatever a server asks for in Retry-After
    stall_s: a connection that brings no byte for so long counts as broken
    """

    attempts: int = 6
    first_wait_s: float = 0.5
    most_wait_s: float = 30.0
    stall_s: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_wait_s < 0 or self.most_wait_s < 0 or self.stall_s <= 0:
            raise ConfigError(f"{self}: needs an attempt, a time to stall and no negative pause")

    def wait_s(self, failures: int, asked_s: float | None = None) -> float:
        """Seconds to wait after so many failures in a row, and at least what the server asked for, within bounds."""
        pause = self.first_wait_s * 2 ** min(failures - 1, 32) * _CHANCE.uniform(0.5, 1)
        return float(min(self.most_wait_s, max(pause, asked_s or 0)))


class Store(Protocol):
    """One kind of server, without any patience."""

    def pieces(self, path: str, start: int, stop: int | None) -> Pieces:
        """Bytes [start, stop) of a file, or to its end, in pieces. May end early where the server does.

        Raises:
            Transient: what may be otherwise at the next try
            Unreadable: what will not
        """


class Remote:
    """The files below one root URL. Threads may share it; a process made by fork or pickle makes connections of its own."""

    def __init__(self, root: str, retry: Retry = Retry(), storage_options: Mapping[str, Any] | None = None) -> None:
        """`storage_options`: for http `headers`; for s3 what `boto3.client` takes, `profile_name`, `anon=True`; else fsspec's.

        Raises:
            ConfigError: the URL cannot be used, options are unknown, or the package for its scheme is not installed
        """
        self._made_of = (root, retry, dict(storage_options or {}))
        self._retry = retry
        self._building = threading.Lock()
        self.where = shown(root)
        self._of_process = os.getpid(), _store(*self._made_of)

    def __reduce__(self) -> tuple[Any, ...]:
        return Remote, self._made_of

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Exactly the bytes [start, stop) of root/path. Raises Unreadable."""
        into = io.BytesIO()
        self._copy(path, into, start, stop)
        return into.getvalue()

    def read_all(self, path: str) -> bytes:
        """A small file, whole. Raises Unreadable."""
        into = io.BytesIO()
        self._copy(path, into, 0, None)
        return into.getvalue()

    def fetch(self, path: str, to: BinaryIO, size: int) -> None:
        """Write the `size` bytes of a file to `to`, in order; a broken connection is taken up where it broke.

        Raises:
            Unreadable: the bytes do not come, or end too early
            OSError: `to` cannot take them
        """
        self._copy(path, to, 0, size)

    def _copy(self, path: str, to: BinaryIO, at: int, stop: int | None) -> None:
        patience = _Patience(self._retry, f"{self.where.rstrip('/')}/{path}", at)
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
                patience.wait(error, at)

    @property
    def _store(self) -> Store:
        """That of this process: connections that a parent opened are the parent's."""
        if self._of_process[0] != os.getpid():
            with self._building:
                if self._of_process[0] != os.getpid():
                    self._of_process = os.getpid(), _store(*self._made_of)
        return self._of_process[1]


class _Patience:
    """Counts failures of one transfer since it last came forward."""

    def __init__(self, retry: Retry, what: str, at: int) -> None:
        self._retry, self._what, self._mark, self._failures = retry, what, at, 0

    def wait(self, error: Unreadable, at: int) -> None:
        """Sleep before the next try, or raise what is left to say."""
        if at - self._mark >= _PROGRESS_BYTES:
            self._mark, self._failures = at, 0
        self._failures += 1
        if not isinstance(error, Transient):
            raise Unreadable(error.reason, f"{self._what}: {error.detail}") from None
        if self._failures >= self._retry.attempts:
            raise Unreadable(error.reason, f"{self._what}: {error.detail}; tried {self._failures} times") from None
        pause_s = self._retry.wait_s(self._failures, error.after_s)
        _LOG.info("%s: %s at byte %d; try %d follows in %.1f s", self._what, error.detail, at, self._failures + 1, pause_s)
        time.sleep(pause_s)


def _store(root: str, retry: Retry, options: dict[str, Any]) -> Store:
    """The packages are imported here, since who reads from a disk need not have them."""
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
        needed = error.name or "that fsspec names for it"
        raise ConfigError(f"{scheme}:// needs the package {needed}; {EXTRAS}") from error
