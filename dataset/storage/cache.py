"""Whole shards on the local disk, within a bound, shared by all processes and ranks of a machine.

    cache = ShardCache(Path("/scratch/shards"), limit_bytes=200 << 30)
    with cache.hold(f"{sha256}.tar", size, lambda to: remote.fetch(path, to, size), sha256) as held:
        mmap.mmap(held.fileno(), 0, prot=mmap.PROT_READ)

A name says what is in the file, so nothing in here can be out of date. In the directory:

    <name>.shard       whole; who reads it has a shared lock on it, who evicts it needs it alone
    <name>.shard.lock  locked by who downloads it; unlocked, there is nobody
    <name>.shard.part  what is being downloaded, of its full size from the start
    room               locked while room is made and while a file gets its name, so that no two count or evict at once

Locks are taken in this order: download, then room; under room nobody waits for another lock. Other files of the directory are
left alone. The directory must be on a disk of the machine: flock over a network is slow, or does not hold.
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

from motionshards.dataset.storage.cache_files import SHARED, alone, let_go, reserve, stands_at, take
from motionshards.dataset.storage.cache_room import LOCK, PART, SHARD, make_room
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.errors import ConfigError

_ROOM = "room"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOG = logging.getLogger(__name__)


class Held:
    """An open shard that nobody evicts before it is closed. What was mapped from it stays readable after."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._process = descriptor, os.getpid()
        self.size = size

    def fileno(self) -> int:
        """A descriptor to map or `pread`; its position is shared by all threads."""
        if self._descriptor < 0:
            raise ValueError("this shard was closed")
        return self._descriptor

    def close(self) -> None:
        """Free it for eviction. Doing so twice is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        if self._process == os.getpid():
            let_go(descriptor)
        else:
            os.close(descriptor)  # inherited by fork: the lock is the parent's to drop

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class ShardCache:
    """A directory of shards of at most `limit_bytes` together, unless those in use are more. Threads and forks may share it."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        """Raises ConfigError: the directory cannot be written or locked, or the limit is not positive."""
        if limit_bytes <= 0:
            raise ConfigError(f"a cache of {limit_bytes} bytes")
        self.directory, self.limit_bytes = directory, limit_bytes
        self.times_over = 0
        """How often this object had to go over the limit, for all else was in use."""
        try:
            with alone(directory / _ROOM):
                pass
        except OSError as error:
            raise ConfigError(f"{directory} cannot be a cache: {error.strerror}") from error

    def has(self, name: str) -> bool:
        """Whether it is here now; it may be evicted the next moment."""
        return self._path(name).is_file()

    def hold(self, name: str, size: int, fetch: Callable[[BinaryIO], None], sha256: str | None = None) -> Held:
        """The shard of that name and size in bytes, downloaded by `fetch` unless it is here or somebody else is at it.

        `fetch` writes the bytes in order from the first; it may be called again where the disk was full.

        Raises:
            Unreadable: what was fetched is short or has another hash, or what `fetch` raises; then nothing is kept
            ConfigError: the disk is full, and nothing that could be evicted is left
        """
        held = None
        while held is None:
            held = self._held(name, size) or self._downloaded(name, size, fetch, sha256)
        return held

    def drop(self, name: str) -> None:
        """Forget a shard that was found damaged. Who holds it keeps it; the next to ask downloads it."""
        with alone(self.directory / _ROOM):
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if not name or name.startswith(".") or "/" in name:
            raise ValueError(f"{name!r} is not a plain file name")
        return self.directory / (name + SHARD)

    def _held(self, name: str, size: int) -> Held | None:
        try:
            descriptor = take(self._path(name), SHARED)
        except FileNotFoundError:
            return None
        assert descriptor is not None  # SHARED waits
        if os.fstat(descriptor).st_size != size:  # not of our making, since names tell the content
            let_go(descriptor)
            self.drop(name)
            return None
        os.utime(descriptor)  # the order of eviction; access times may be switched off
        return Held(descriptor, size)

    def _downloaded(self, name: str, size: int, fetch: Callable[[BinaryIO], None], sha256: str | None) -> Held | None:
        """None where somebody else has downloaded it while we waited for our turn."""
        with alone(self.directory / (name + LOCK), brief=True):
            if self.has(name):
                return None
            part = self.directory / (name + PART)
            descriptor = self._begun(part)
            try:
                self._fill(descriptor, name, size, fetch)
                _check(descriptor, name, size, sha256)
                return self._named(descriptor, part, self._path(name), size)
            finally:
                if stands_at(descriptor, part):
                    part.unlink(missing_ok=True)
                os.close(descriptor)

    def _begun(self, part: Path) -> int:
        """An empty file; one that a dead download left is not used again, as somebody may still have it open."""
        with alone(self.directory / _ROOM):
            part.unlink(missing_ok=True)
            return os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def _fill(self, descriptor: int, name: str, size: int, fetch: Callable[[BinaryIO], None]) -> None:
        """Room, then bytes; once more with more room where the disk turns out to be smaller than the limit."""
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
        raise ConfigError(f"{self.directory}: the disk is full, {size} bytes are needed and all other shards are in use")

    def _reserve(self, descriptor: int, size: int, is_disk_full: bool) -> None:
        """Make room before a byte comes, and take it at once, so that the next who counts sees it taken."""
        with alone(self.directory / _ROOM):
            os.ftruncate(descriptor, 0)
            most = self.limit_bytes - size
            if is_disk_full:
                most = min(most, make_room(self.directory, sys.maxsize) - size)
            if make_room(self.directory, most) > self.limit_bytes - size:
                self._tell_over(size)
            reserve(descriptor, size)

    def _tell_over(self, size: int) -> None:
        self.times_over += 1
        if self.times_over == 1:
            _LOG.warning(
                "%s: over its limit of %d bytes, for a shard of %d and others in use", self.directory, self.limit_bytes, size
            )

    def _named(self, descriptor: int, part: Path, path: Path, size: int) -> Held:
        """Give a whole file its name and lock it for reading, under the room lock, so that nobody evicts it in between."""
        with alone(self.directory / _ROOM):
            if not stands_at(descriptor, part):  # somebody removed the directory; the bytes are whole, and ours until closed
                return Held(os.dup(descriptor), size)
            part.replace(path)
            held = take(path, SHARED)
        assert held is not None  # SHARED waits
        return Held(held, size)


def _check(descriptor: int, name: str, size: int, sha256: str | None) -> None:
    """What was written is what was promised, and on disk before it gets its name."""
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
    """Where shards are cached unless a directory is named."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "motionshards"
