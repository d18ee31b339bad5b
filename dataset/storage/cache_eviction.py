"""Eviction of shards from a cache, by least recent use. All functions run under the cache's room lock.

Shards in use are locked and never evicted. Downloads count with their full size; downloads of dead processes are removed.
"""

import os
from pathlib import Path

from motionshards.dataset.storage.cache_files import unlink_unless_locked

SHARD, PART, LOCK = ".shard", ".shard.part", ".shard.lock"


def make_room(directory: Path, most_bytes: int) -> int:
    """Evict shards until at most `most_bytes` are left, or everything left is in use; returns the bytes left."""
    shards, left = [], 0
    for path in directory.iterdir():
        if path.name.endswith(LOCK):
            unlink_unless_locked(path)
        stat = _stat(path) if path.name.endswith((SHARD, PART)) else None
        if stat is None or _is_dead(path):
            continue
        left += stat.st_size
        if path.name.endswith(SHARD):
            shards.append((stat.st_mtime_ns, path.name, stat.st_size))
    for _, name, size in sorted(shards):
        if left <= most_bytes:
            break
        if unlink_unless_locked(directory / name):
            left -= size
    return left


def _is_dead(path: Path) -> bool:
    """Whether this is the download of a dead process, which is then removed."""
    if not path.name.endswith(PART) or not unlink_unless_locked(path.with_name(path.name.removesuffix(PART) + LOCK)):
        return False
    path.unlink(missing_ok=True)
    return True


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # a download that has just failed, or the directory is being cleared by hand
        return None
