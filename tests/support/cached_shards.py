"""Cached shards whose contents are derived from their names."""

import os
import random
from collections.abc import Callable
from typing import BinaryIO

from motionshards.dataset.storage.cache import Held, ShardCache

SIZE = 20_000


def content(name: str, size: int = SIZE) -> bytes:
    return random.Random(name).randbytes(size)


def writer(name: str, size: int = SIZE) -> Callable[[BinaryIO], None]:
    def fetch(to: BinaryIO) -> None:
        to.write(content(name, size))

    return fetch


def never(_: BinaryIO) -> None:
    raise AssertionError("nothing was to be downloaded")


def hold(cache: ShardCache, name: str, size: int = SIZE) -> Held:
    return cache.hold(name, size, writer(name, size))


def read(held: Held) -> bytes:
    return os.pread(held.fileno(), held.size + 1, 0)


def names(cache: ShardCache) -> set[str]:
    """Names of all files in the directory except the room lock and locks of running downloads."""
    found = {path.name.removesuffix(".shard") for path in cache.directory.iterdir()} - {"room"}
    return found - {name.removesuffix("part") + "lock" for name in found if name.endswith(".part")}
