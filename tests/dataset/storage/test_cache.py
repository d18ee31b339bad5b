"""The cache of shards: downloads, eviction, and full disks."""

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest
from cached_shards import SIZE, content, hold, names, never, read, writer
from checkout import ROOT

from motionshards.dataset.storage.cache import ShardCache
from motionshards.dataset.storage.cache_files import unlink_unless_locked
from motionshards.dataset.storage.unreadable import Unreadable
from motionshards.schemas.errors import ConfigError


def test_a_shard_is_downloaded_once(cache: ShardCache) -> None:
    sha256 = hashlib.sha256(content("a")).hexdigest()
    assert not cache.has("a")
    with cache.hold("a", SIZE, writer("a"), sha256) as held:
        assert read(held) == content("a")
        assert cache.has("a")
    with cache.hold("a", SIZE, never, sha256) as held, ShardCache(cache.directory, SIZE).hold("a", SIZE, never) as again:
        assert read(held) == read(again) == content("a")
    assert names(cache) == {"a"}


def test_a_closed_shard_has_no_descriptor(cache: ShardCache) -> None:
    held = hold(cache, "a")
    held.close()
    held.close()
    with pytest.raises(ValueError, match="closed"):
        held.fileno()


def test_the_least_recently_used_is_evicted_first(cache: ShardCache) -> None:
    for name in "abc":
        hold(cache, name).close()
        time.sleep(0.01)
    hold(cache, "a").close()
    time.sleep(0.01)
    hold(cache, "d").close()
    assert names(cache) == {"a", "c", "d"}
    hold(cache, "e", 2 * SIZE).close()
    assert names(cache) == {"d", "e"}


def test_held_shards_are_not_evicted_and_exceeding_the_limit_is_counted(
    cache: ShardCache, caplog: pytest.LogCaptureFixture
) -> None:
    held = [hold(cache, name) for name in "abc"]
    others = [hold(cache, name) for name in "de"]
    assert [read(one) for one in held] == [content(name) for name in "abc"]
    assert names(cache) == set("abcde")
    assert cache.times_over == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    for one in held + others:
        one.close()
    hold(cache, "f").close()
    assert len(names(cache)) == 3
    assert cache.times_over == 2


def test_a_shard_larger_than_the_limit_can_be_held(cache: ShardCache) -> None:
    hold(cache, "a").close()
    with hold(cache, "large", 10 * SIZE) as held:
        assert read(held) == content("large", 10 * SIZE)
        assert names(cache) == {"large"}
    assert cache.times_over == 1
    hold(cache, "a").close()
    assert names(cache) == {"a"}


@pytest.mark.parametrize(("written", "reason"), [(0, "truncated"), (SIZE - 1, "truncated"), (SIZE + 1, "damaged")])
def test_a_wrong_size_raises_and_nothing_is_kept(cache: ShardCache, written: int, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"a: {written} bytes, expected {SIZE}") as caught:
        cache.hold("a", SIZE, writer("a", written))
    assert (caught.value.reason, names(cache)) == (reason, set())


def test_a_wrong_hash_raises_and_nothing_is_kept(cache: ShardCache) -> None:
    right = hashlib.sha256(content("a")).hexdigest()
    with pytest.raises(Unreadable, match="sha256") as caught:
        cache.hold("a", SIZE, writer("b"), right)
    assert (caught.value.reason, names(cache)) == ("damaged", set())
    with cache.hold("a", SIZE, writer("a"), right) as held:
        assert read(held) == content("a")


def test_a_failed_download_leaves_nothing(cache: ShardCache) -> None:
    def breaks(to: BinaryIO) -> None:
        to.write(b"half")
        raise Unreadable("unreachable", "gone")

    for _ in range(2):
        with pytest.raises(Unreadable, match="gone"):
            cache.hold("a", SIZE, breaks)
        assert names(cache) == set()


def test_a_cached_file_of_another_size_is_downloaded_again(cache: ShardCache) -> None:
    hold(cache, "a").close()
    os.truncate(cache.directory / "a.shard", 17)
    with hold(cache, "a") as held:
        assert read(held) == content("a")


def test_a_dropped_shard_is_downloaded_again_and_stays_with_its_holders(cache: ShardCache) -> None:
    with hold(cache, "a") as held:
        cache.drop("a")
        assert not cache.has("a")
        with cache.hold("a", SIZE, writer("new a")) as new:
            assert (read(held), read(new)) == (content("a"), content("new a"))


def test_a_shard_that_is_evicted_while_it_is_being_opened_is_downloaded_again(
    cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between open and flock, another process may evict the shard; the lock is then on an unlinked file."""
    hold(cache, "a").close()
    right = fcntl.flock
    evicted: list[int] = []

    def flock(descriptor: int, how: int) -> None:
        if how == fcntl.LOCK_SH and not evicted:
            evicted.append(how)
            assert unlink_unless_locked(cache.directory / "a.shard")
        right(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold(cache, "a") as held:
        assert os.fstat(held.fileno()).st_nlink == 1
        assert read(held) == content("a")
    assert evicted


def test_other_files_of_the_directory_are_left_alone(cache: ShardCache) -> None:
    (cache.directory / "thesis.tex").write_bytes(bytes(9 * SIZE))
    for name in "abcd":
        hold(cache, name).close()
    assert (cache.directory / "thesis.tex").stat().st_size == 9 * SIZE
    assert names(cache) == {"b", "c", "d", "thesis.tex"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd"])
def test_only_plain_file_names_are_accepted(cache: ShardCache, name: str) -> None:
    with pytest.raises(ValueError, match="plain"):
        cache.hold(name, SIZE, never)


def test_an_invalid_directory_or_limit_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file/below cannot be used as a cache"):
        ShardCache(tmp_path / "file" / "below", SIZE)
    with pytest.raises(ConfigError):
        ShardCache(tmp_path, 0)


def test_a_removed_directory_is_created_again(cache: ShardCache) -> None:
    held = hold(cache, "a")
    shutil.rmtree(cache.directory)
    assert read(held) == content("a")
    held.close()
    with hold(cache, "a") as held:
        assert read(held) == content("a")
    assert names(cache) == {"a"}


def test_a_directory_removed_during_a_download_does_not_lose_the_bytes(cache: ShardCache) -> None:
    def fetch(to: BinaryIO) -> None:
        shutil.rmtree(cache.directory)
        to.write(content("a"))

    with cache.hold("a", SIZE, fetch) as held:
        assert read(held) == content("a")
    assert not cache.has("a")
    hold(cache, "a").close()
    assert cache.has("a")


def test_a_full_disk_evicts_more_and_retries_once(cache: ShardCache) -> None:
    for name in "ab":
        hold(cache, name).close()
    seen = []

    def fetch(to: BinaryIO) -> None:
        seen.append(names(cache))
        if len(seen) == 1:
            to.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        to.write(content("c"))

    with cache.hold("c", SIZE, fetch) as held:
        assert read(held) == content("c")
    assert seen == [{"a", "b", "c.shard.part"}, {"b", "c.shard.part"}]


def test_a_disk_that_stays_full_raises_after_one_retry(cache: ShardCache, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def full(_: int, __: int, size: int) -> None:
        sizes.append(size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match="disk is full"):
        cache.hold("a", SIZE, never)
    assert sizes == [SIZE, SIZE]
    assert names(cache) == set()


SMALL_DISK = """
import sys
from pathlib import Path
from motionshards.dataset.storage.cache import ShardCache
from motionshards.schemas.errors import ConfigError
cache = ShardCache(Path(sys.argv[1]), 1 << 30)
for name in "abcdef":
    cache.hold(name, 100_000, lambda to: to.write(bytes(100_000))).close()
print(sorted(path.name for path in cache.directory.glob("*.shard")))
held = [cache.hold(name, 100_000, lambda to: to.write(bytes(100_000))) for name in "gh"]
try:
    cache.hold("i", 100_000, lambda to: to.write(bytes(100_000)))
except ConfigError as error:
    print(error)
"""


def test_a_disk_smaller_than_the_limit(tmp_path: Path) -> None:
    """A real file system of 280 kB, if it can be mounted."""
    mount = f'mount -t tmpfs -o size=280k none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    try:
        done = subprocess.run(["unshare", "-rm", "sh", "-c", mount, SMALL_DISK], capture_output=True, text=True, cwd=ROOT)
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount")
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "['e.shard', 'f.shard']"
    assert done.stdout.splitlines()[1].endswith("the disk is full: 100000 bytes are needed, and all other shards are in use")
