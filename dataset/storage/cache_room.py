"""Which shards of a cache go when others come. All of it runs under the cache's room lock.

Shards go by the time they were last held, oldest first; one that somebody has locked stays, whatever its age. Downloads count
with their full size, and those whose writer died are cleared away.
"""

import os
from pathlib import Path

from motionshards.dataset.storage.cache_files import unlink_unless_locked

SHARD, PART, LOCK = ".shard", ".shard.part", ".shard.lock"


def make_room(directory: Path, most_bytes: int) -> int:
    """Evict until what is left has at most so many bytes, or is all in use. Gives what is left, in bytes."""
    shards, left = [], 0
    for path in directory.iterdir():
        if path.name.endswith(LOCK):
            unlink_unless_locked(path)
        told = _stat(path) if path.name.endswith((SHARD, PART)) else None
        if told is None or _is_dead(path):
            continue
        left += told.st_size
        if path.name.endswith(SHARD):
            shards.append((told.st_mtime_ns, path.name, told.st_size))
    for _, name, size in sorted(shards):
        if left <= most_bytes:
            break
        if unlink_unless_locked(directory / name):
            left -= size
    return left


def _is_dead(path: Path) -> bool:
    """Whether it is a download without anybody at it; then it goes."""
    if not path.name.endswith(PART) or not unlink_unless_locked(path.with_name(path.name.removesuffix(PART) + LOCK)):
        return False
    path.unlink(missing_ok=True)
    return True


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # a download that has just failed, or somebody clears the directory by hand
        return None
