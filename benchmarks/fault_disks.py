"""Disk faults: a full disk, a file size limit, and a file system that becomes read-only."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.fault_build import Bench, CannotInject, Row, Site

_LARGEST_FILE = 100_000


def fill_disk(bench: Bench, site: Site, row: Row, times: int) -> None:
    """Build onto a file system that holds half of the dataset; it is enlarged before the command is repeated."""
    needed = sum(path.stat().st_size for path in bench.undisturbed.out.rglob("*"))
    for _ in range(times):
        with _mounted(bench.work / "disk", "-t", "tmpfs", "-o", f"size={needed // 2}", "tmpfs") as disk:
            build = bench.build(site, disk / "out").start()
            row.times += 1
            bench.finish(row, build, repair=partial(_mount, "-o", f"remount,size={needed * 4}", str(disk)))


def limit_files(bench: Bench, site: Site, row: Row, times: int) -> None:
    """Limit the file size to less than that of some shards, like a quota; the repeated command has no limit."""
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
    for _ in range(times):
        row.times += 1
        bench.finish(row, bench.build(site).start(before=limit))


def seal_disk(bench: Bench, site: Site, row: Row, times: int) -> None:
    """Mount the output read-only after the first shard; files that are already open can still be written."""
    for _ in range(times):
        build = bench.build(site).start()
        if not build.until(build.has_committed):
            bench.finish_without_fault(build)
            continue
        _mount("--bind", str(build.out), str(build.out))
        _mount("-o", "remount,bind,ro", str(build.out))
        row.times += 1
        try:
            bench.finish(row, build, repair=partial(subprocess.run, ["umount", build.out], check=True))
        finally:  # if interrupted before the fault was undone
            subprocess.run(["umount", "-l", build.out], stderr=subprocess.DEVNULL, check=False)


@contextmanager
def _mounted(directory: Path, *arguments: str) -> Iterator[Path]:
    directory.mkdir(exist_ok=True)
    _mount(*arguments, str(directory))
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)  # lazy: an interrupted build may still use it


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotInject(f"not permitted to mount ({done.stderr.strip()})")
