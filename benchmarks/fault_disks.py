"""Faults of the disk below a build: a disk that is full, that refuses large files, or no longer takes writes."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.fault_build import Bench, Row, Site, Unable

_LARGEST_FILE = 100_000


def fill_disk(bench: Bench, site: Site, row: Row, times: int) -> None:
    """Build onto a file system that holds half of the data set; it grows before the command is given again."""
    needed = sum(path.stat().st_size for path in bench.undisturbed.out.rglob("*"))
    for _ in range(times):
        with _mounted(bench.work / "disk", "-t", "tmpfs", "-o", f"size={needed // 2}", "tmpfs") as disk:
            build = bench.build(site, disk / "out").start()
            row.times += 1
            bench.settle(row, build, mend=partial(_mount, "-o", f"remount,size={needed * 4}", str(disk)))


def limit_files(bench: Bench, site: Site, row: Row, times: int) -> None:
    """No process of the build may write a file larger than some shards are, as a quota would have it; then it may."""
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
    for _ in range(times):
        row.times += 1
        bench.settle(row, bench.build(site).start(before=limit))


def seal_disk(bench: Bench, site: Site, row: Row, times: int) -> None:
    """Once a shard is there, lay a read-only mount over the output; files that are open can still be written."""
    for _ in range(times):
        build = bench.build(site).start()
        if not build.until(build.has_committed):
            bench.missed(build)
            continue
        _mount("--bind", str(build.out), str(build.out))
        _mount("-o", "remount,bind,ro", str(build.out))
        row.times += 1
        try:
            bench.settle(row, build, mend=partial(subprocess.run, ["umount", build.out], check=True))
        finally:  # where we were told to stop before it was mended
            subprocess.run(["umount", "-l", build.out], stderr=subprocess.DEVNULL, check=False)


@contextmanager
def _mounted(place: Path, *words: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    _mount(*words, str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)  # a build may be at work there if we were told to stop


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unable(f"no right to mount ({done.stderr.strip()})")
