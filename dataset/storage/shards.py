"""Random access to the bytes of shards in a directory or at a URL, for many threads at once.

Local files are read with pread, not mmap: copying 15 KB costs a hundredth of decoding it, and a truncated file or a failing disk
is an error of that read, while a memory map would kill the process (SIGBUS).
"""

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from motionshards.dataset.storage.cache import ShardCache
from motionshards.dataset.storage.remote import Remote, Retry
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.regular_file import open_regular

_MOST_OPEN = 256
_REMEMBERED_S = 60.0
_OF_THE_SHARD = ("missing", "unreachable")
_NONE = (0.0, "", "")


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A shard's tar: path below the root, size in bytes, SHA-256."""

    path: str
    bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSource:
    """Where the shards are, and how to read them. Pickled for other processes.

    root: directory or URL
    remote: whether it is a URL
    random: whether access is random rather than sequential
    cache, cache_bytes: directory for shards downloaded from a URL, and its size limit; None reads byte ranges instead
    holders: number of processes on this machine that read from the cache at the same time
    """

    root: str
    shards: tuple[ShardFile, ...]
    remote: bool
    random: bool
    cache: Path | None
    cache_bytes: int
    retry: Retry
    storage_options: Mapping[str, Any] | None
    holders: int = 1


class _Open(Protocol):
    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Shards:
    """The shards of a source. Thread-safe; must not be used across a fork."""

    def __init__(self, source: ShardSource) -> None:
        self._source = source
        self._remote = Remote(source.root, source.retry, source.storage_options) if source.remote else None
        self._cache = ShardCache(source.cache, source.cache_bytes) if source.cache else None
        self._open: OrderedDict[int, _Shared] = OrderedDict()
        self._lock = threading.Lock()
        self._opening: dict[int, threading.Lock] = {}
        self._failures: dict[int, tuple[float, str, str]] = {}

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """`size` bytes from byte `offset` of a shard.

        Raises:
            Unreadable: the shard is missing, unreachable, or too short
        """
        self._recall(shard)
        try:
            if self._remote is not None and self._cache is None:
                return self._remote.read(self._source.shards[shard].path, offset, offset + size)
            content = self._pread(shard, offset, size)
        except Unreadable as error:
            self._remember(shard, error)
            raise
        if len(content) != size:
            raise Unreadable("truncated", f"{self._source.shards[shard].path} ends before byte {offset + size}")
        return content

    def expect(self, shard: int, start: int, stop: int) -> None:
        """Prefetch bytes that will be read soon, on a local disk."""
        if self._remote is None and start < stop:
            file = self._file(shard)  # held, see `_pread`
            os.posix_fadvise(file.descriptor, start, stop - start, os.POSIX_FADV_WILLNEED)

    def fetch(self, shards: Sequence[int]) -> None:
        """Prefetch shards into the cache. Errors are ignored here: reading the shard raises them again."""
        for shard in shards if self._cache is not None else ():
            with suppress(Unreadable):
                self._file(shard)

    def _pread(self, shard: int, offset: int, size: int) -> bytes:
        for again in (True, False):
            try:
                # Hold a reference: another thread may close the file, and its descriptor may be reused for a different one.
                file = self._file(shard)
                return os.pread(
                    file.descriptor, min(size, max(0, file.bytes - offset)), offset
                )  # pread allocates `size` bytes, so bound it by the file
            except OSError as error:
                self._forget(shard)
                if not again:  # network file systems have stale handles; a new one may work
                    raise Unreadable("unreachable", f"{self._source.shards[shard].path}: {error.strerror}") from error
        raise AssertionError

    def _recall(self, shard: int) -> None:
        """Raise the last error of a shard that failed recently; otherwise each of its clips would wait for all retries."""
        until, reason, detail = self._failures.get(shard, _NONE)
        if time.monotonic() < until:
            raise Unreadable(reason, detail)

    def _remember(self, shard: int, error: Unreadable) -> None:
        if error.reason in _OF_THE_SHARD and self._failures.get(shard, _NONE)[0] < time.monotonic():
            self._failures[shard] = time.monotonic() + _REMEMBERED_S, error.reason, error.detail

    def _file(self, shard: int) -> "_Shared":
        with self._lock:
            if shard in self._open:
                self._open.move_to_end(shard)
                return self._open[shard]
            opening = self._opening.setdefault(shard, threading.Lock())
        with opening:
            self._recall(shard)  # another thread may have failed to open it
            with self._lock:
                if shard in self._open:
                    return self._open[shard]
            try:
                file = _Shared(self._opened(shard))
            except Unreadable as error:
                self._remember(shard, error)
                raise
            with self._lock:
                self._open[shard] = file
                while len(self._open) > self._most_open():
                    self._open.popitem(last=False)
            return file

    def _opened(self, shard: int) -> _Open:
        requested = self._source.shards[shard]
        if self._remote is None:
            return _open_local(Path(self._source.root) / requested.path, requested.path, self._source.random)
        assert self._cache is not None
        remote, name = self._remote, f"{requested.sha256}.tar"
        return self._cache.hold(
            name, requested.bytes, lambda to: remote.fetch(requested.path, to, requested.bytes), requested.sha256
        )

    def _most_open(self) -> int:
        """Held shards cannot be evicted, so all processes together hold at most half of the cache, and at least one each."""
        if self._cache is None:
            return _MOST_OPEN
        largest = max(shard.bytes for shard in self._source.shards)
        return max(1, min(_MOST_OPEN, self._source.cache_bytes // 2 // self._source.holders // max(1, largest)))

    def _forget(self, shard: int) -> None:
        with self._lock:
            self._open.pop(shard, None)


class _Shared:
    """An open file that is closed when the last thread has released it."""

    def __init__(self, file: _Open) -> None:
        self.descriptor = file.fileno()
        self.bytes = os.fstat(self.descriptor).st_size
        weakref.finalize(self, file.close)


def _open_local(path: Path, shown: str, random: bool) -> _Open:
    try:
        file = open_regular(path, buffering=0)
    except FileNotFoundError as error:
        raise Unreadable("missing", f"{shown}: {error.strerror}") from error
    except OSError as error:
        raise Unreadable("unreachable", f"{shown}: {error.strerror}") from error
    if random:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
    return file
