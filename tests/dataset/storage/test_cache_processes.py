"""Processes on one cache directory: single downloads, held shards, the size limit, and crashes."""

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from cached_shards import SIZE, content, hold, names, read

from motionshards.dataset.storage.cache import ShardCache
from motionshards.dataset.storage.cache_eviction import PART, SHARD
from motionshards.dataset.storage.cache_files import exclusive_lock

FORK = multiprocessing.get_context("fork")


def _download(directory: Path, log: Path) -> None:
    def fetch(to: BinaryIO) -> None:
        with log.open("a") as lines:
            lines.write(f"{os.getpid()}\n")
        time.sleep(0.05)
        to.write(content("a"))

    with ShardCache(directory, 3 * SIZE).hold("a", SIZE, fetch) as held:
        os._exit(0 if read(held) == content("a") else 1)


def test_one_process_downloads_and_the_others_wait(cache: ShardCache, tmp_path: Path) -> None:
    processes = [FORK.Process(target=_download, args=(cache.directory, tmp_path / "log")) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0] * 6
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_one_thread_downloads_and_the_others_wait(cache: ShardCache) -> None:
    started = []

    def fetch(to: BinaryIO) -> None:
        started.append(threading.get_ident())
        time.sleep(0.05)
        to.write(content("a"))

    with ThreadPoolExecutor(8) as pool:
        held = list(pool.map(lambda _: cache.hold("a", SIZE, fetch), range(8)))
    assert {read(one) for one in held} == {content("a")}
    assert len(started) == 1


def _hang(directory: Path, name: str, half_way: "multiprocessing.synchronize.Event") -> None:
    def fetch(to: BinaryIO) -> None:
        to.write(content(name)[: SIZE // 2])
        to.flush()
        half_way.set()
        time.sleep(60)

    ShardCache(directory, 3 * SIZE).hold(name, SIZE, fetch)


def _killed_half_way(cache: ShardCache, name: str) -> Callable[[], None]:
    """Start a download that hangs half-way; returns a function that kills it."""
    half_way = FORK.Event()
    process = FORK.Process(target=_hang, args=(cache.directory, name, half_way))
    process.start()
    assert half_way.wait(10)
    assert process.pid is not None

    def kill() -> None:
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()

    return kill


def test_a_waiting_process_takes_over_a_killed_download(cache: ShardCache) -> None:
    kill = _killed_half_way(cache, "a")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hold, cache, "a")
        time.sleep(0.1)
        assert not waiting.done()
        kill()
        with waiting.result(10) as held:
            assert read(held) == content("a")
    assert names(cache) == {"a"}


def test_leftovers_of_a_killed_download_are_removed_by_the_next_download(cache: ShardCache) -> None:
    _killed_half_way(cache, "a")()
    assert names(cache) == {"a.shard.part"}
    hold(cache, "b").close()
    assert names(cache) == {"b"}


def test_running_downloads_are_counted_and_not_removed(cache: ShardCache) -> None:
    for name in "bc":
        hold(cache, name).close()
        time.sleep(0.01)
    kill = _killed_half_way(cache, "a")
    try:
        hold(cache, "d").close()
        assert names(cache) == {"a.shard.part", "c", "d"}
    finally:
        kill()


def test_a_fork_neither_keeps_nor_releases_a_lock(cache: ShardCache) -> None:
    held = {name: hold(cache, name) for name in "ab"}
    go, gone = FORK.Event(), FORK.Event()

    def child() -> None:
        held["a"].close()  # its own copy
        gone.set()
        go.wait(20)

    process = FORK.Process(target=child)
    process.start()
    try:
        assert gone.wait(10)
        held["b"].close()
        hold(cache, "large", 3 * SIZE).close()
        assert names(cache) == {"a", "large"}, "a is held here, b only by a copy of its descriptor in the child"
    finally:
        go.set()
        process.join()


def _crowd(directory: Path, limit: int, seed: int, turns: int) -> None:
    chance = random.Random(seed)
    cache = ShardCache(directory, limit)
    for _ in range(turns):
        name = f"shard{chance.randrange(16)}"
        with hold(cache, name) as held:
            time.sleep(chance.random() * 0.004)
            at = os.stat(directory / f"{name}.shard")
            if not os.path.samestat(at, os.fstat(held.fileno())) or read(held) != content(name):
                os._exit(1)
    os._exit(3 if cache.times_over else 0)


def test_many_processes_never_exceed_the_limit_nor_lose_held_shards(cache: ShardCache) -> None:
    """Seven processes, one of which is killed at some point; each holds one shard, and the cache has space for eight."""
    limit, most = 8 * SIZE, 0
    turns = [60] * 6 + [1_000_000]
    processes = [FORK.Process(target=_crowd, args=(cache.directory, limit, seed, n)) for seed, n in enumerate(turns)]
    for process in processes:
        process.start()
    victim = processes.pop()
    while any(process.is_alive() for process in processes):
        with exclusive_lock(cache.directory / "room"):  # locks out reservations, renames and evictions
            most = max(most, sum(path.stat().st_size for end in (SHARD, PART) for path in cache.directory.glob(f"*{end}")))
        if most > 4 * SIZE:
            victim.kill()
        time.sleep(0.005)
    victim.kill()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL
    assert [process.exitcode for process in processes] == [0] * 6
    assert 7 * SIZE <= most <= limit
    hold(cache, "last").close()
    assert not [name for name in names(cache) if name.endswith(".part")]
