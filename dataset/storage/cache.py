"""A size-limited cache of whole shards on the local disk, shared by all processes and ranks of a machine.

    cache = ShardCache(Path("/scratch/shards"), limit_bytes=200 << 30)
    with cache.hold(f"{sha256}.tar", size, lambda to: remote.fetch(path, to, size), sha256) as held:
        mmap.mmap(held.fileno(), 0, prot=mmap.PROT_READ)

Names are content hashes, so entries never become outdated. Files in the directory:

    <name>.shard       a complete shard; readers hold a shared lock on it, eviction needs an exclusive one
    <name>.shard.lock  locked by the process that downloads the shard
    <name>.shard.part  the download in progress, allocated at its full size
    room               locked during eviction and while a file is renamed, so that only one process counts and evicts at a time

Lock order: download, then room; a process that holds room waits for no other lock. Other files in the directory are left alone.
The directory must be on a local disk: flock on network file systems is slow or unreliable.
"""

import errno
import hashlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from motionshards.dataset.storage.cache_eviction import LOCK, PART, SHARD, make_room
from motionshards.dataset.storage.cache_files import SHARED, exclusive_lock, is_file_at, open_locked, release, reserve
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.errors import ConfigError

_ROOM = "room"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOG = logging.getLogger(__name__)


class Held:
    """An open shard, which is not evicted before it is closed. Memory mappings of it stay valid after that."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._process = descriptor, os.getpid()
        self.size = size

    def fileno(self) -> int:
        """A descriptor for mmap or pread; all threads share its file position."""
        if self._descriptor < 0:
            raise ValueError("this shard is closed")
        return self._descriptor

    def close(self) -> None:
        """Allow eviction. Closing twice is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        if self._process == os.getpid():
            release(descriptor)
        else:
            os.close(descriptor)  # inherited by fork: only the parent may unlock

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class ShardCache:
    """A directory of shards of at most `limit_bytes` in total, unless the shards in use exceed it. Safe for threads and forks."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        """Raises ConfigError: the directory cannot be written or locked, or the limit is not positive."""
        if limit_bytes <= 0:
            raise ConfigError(f"the size limit of a cache must be positive, not {limit_bytes} bytes")
        self.directory, self.limit_bytes = directory, limit_bytes
        self.times_over = 0
        """How often this object exceeded the limit because all other shards were in use."""
        try:
            with exclusive_lock(directory / _ROOM):
                pass
        except OSError as error:
            raise ConfigError(f"{directory} cannot be used as a cache: {error.strerror}") from error

    def has(self, name: str) -> bool:
        """Whether the shard is cached now; it may be evicted at any moment."""
        return self._path(name).is_file()

    def hold(self, name: str, size: int, fetch: Callable[[BinaryIO], None], sha256: str | None = None) -> Held:
        """Hold the shard with this name, downloading it if necessary; waits for a download by another process.

        size: size of the shard in bytes
        fetch: writes the bytes to a file, from the start; called again if the disk was full

        Raises:
            Unreadable: the download has another size or SHA-256, or `fetch` raised it; nothing is kept
            ConfigError: the disk is full, and no shard can be evicted
        """
        held = None
        while held is None:
            held = self._held(name, size) or self._downloaded(name, size, fetch, sha256)
        return held

    def drop(self, name: str) -> None:
        """Remove a damaged shard. Current holders keep it; the next `hold` downloads it again."""
        with exclusive_lock(self.directory / _ROOM):
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if not name or name.startswith(".") or "/" in name:
            raise ValueError(f"{name!r} is not a plain file name")
        return self.directory / (name + SHARD)

    def _held(self, name: str, size: int) -> Held | None:
        try:
            descriptor = open_locked(self._path(name), SHARED)
        except FileNotFoundError:
            return None
        assert descriptor is not None  # SHARED waits
        if os.fstat(descriptor).st_size != size:  # not written by this cache: the name determines the content
            release(descriptor)
            self.drop(name)
            return None
        os.utime(descriptor)  # the order of eviction; access times may be switched off
        return Held(descriptor, size)

    def _downloaded(self, name: str, size: int, fetch: Callable[[BinaryIO], None], sha256: str | None) -> Held | None:
        """Download a shard and hold it; None if another process downloaded it in the meantime."""
        with exclusive_lock(self.directory / (name + LOCK), temporary=True):
            if self.has(name):
                return None
            part = self.directory / (name + PART)
            descriptor = self._created(part)
            try:
                self._fill(descriptor, name, size, fetch)
                _check(descriptor, name, size, sha256)
                return self._named(descriptor, part, self._path(name), size)
            finally:
                if is_file_at(descriptor, part):
                    part.unlink(missing_ok=True)
                os.close(descriptor)

    def _created(self, part: Path) -> int:
        """Create an empty file. A dead download's file is not reused, as another process may still have it open."""
        with exclusive_lock(self.directory / _ROOM):
            part.unlink(missing_ok=True)
            return os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def _fill(self, descriptor: int, name: str, size: int, fetch: Callable[[BinaryIO], None]) -> None:
        """Make room and download; if the disk is full before the limit is reached, evict more and try once more."""
        for is_disk_full in (False, True):
            try:
                self._reserve(descriptor, size, is_disk_full)
                with open(descriptor, "wb", closefd=False) as to:
                    fetch(to)
                    written = to.tell()
            except OSError as error:
                if error.errno not in _DISK_FULL:
                    raise
            else:
                if written != size:
                    raise Unreadable("truncated" if written < size else "damaged", f"{name}: {written} bytes, expected {size}")
                return
        raise ConfigError(f"{self.directory}: the disk is full: {size} bytes are needed, and all other shards are in use")

    def _reserve(self, descriptor: int, size: int, is_disk_full: bool) -> None:
        """Make room and allocate it before the download starts, so that other processes count it."""
        with exclusive_lock(self.directory / _ROOM):
            os.ftruncate(descriptor, 0)
            most = self.limit_bytes - size
            if is_disk_full:
                most = min(most, make_room(self.directory, sys.maxsize) - size)
            if make_room(self.directory, most) > self.limit_bytes - size:
                self._warn_over_limit(size)
            reserve(descriptor, size)

    def _warn_over_limit(self, size: int) -> None:
        self.times_over += 1
        if self.times_over == 1:
            _LOG.warning(
                "%s exceeds its limit of %d bytes: a shard of %d bytes is added, and all others are in use",
                self.directory,
                self.limit_bytes,
                size,
            )

    def _named(self, descriptor: int, part: Path, path: Path, size: int) -> Held:
        """Rename a complete download and lock it for reading, under the room lock, so that it is not evicted in between."""
        with exclusive_lock(self.directory / _ROOM):
            if not is_file_at(descriptor, part):  # the directory was removed; the open file stays usable until it is closed
                return Held(os.dup(descriptor), size)
            part.replace(path)
            held = open_locked(path, SHARED)
        assert held is not None  # SHARED waits
        return Held(held, size)


def _check(descriptor: int, name: str, size: int, sha256: str | None) -> None:
    """Verify size and SHA-256 of a download, and sync it to disk before it is renamed."""
    if (stored := os.fstat(descriptor).st_size) != size:
        raise Unreadable("damaged", f"{name}: {stored} bytes, expected {size}")
    if sha256 is not None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        with open(descriptor, "rb", buffering=0, closefd=False) as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != sha256:
            raise Unreadable("damaged", f"{name}: its sha256 is {found}, expected {sha256}")
    os.fdatasync(descriptor)


def default_cache() -> Path:
    """The default cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "motionshards"
