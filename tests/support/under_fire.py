"""Helpers of tests that kill the workers of a build: many clips, the clips in flight by process, and the output."""

import hashlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil


def hashes(out: Path) -> dict[str, str]:
    """SHA-256 of every shard and marker."""
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.glob("t*/*"))}


def copies_of(videos: Path, root: Path, copies: int) -> Path:
    """Copy the demo corpus several times under different identity names, so that a build takes several seconds."""
    for identity in videos.glob("*/mp4/*"):
        for copy in range(copies):
            shutil.copytree(identity, root / identity.parents[1].name / "mp4" / f"id{copy}-{identity.name[2:]}")
    return root


def wait_for(condition: Callable[[], object], seconds: float, every_s: float = 0.02) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(every_s)


def journal_lines(places: str, root: Path) -> Iterator[tuple[int, list[str]]]:
    """(pid, lines) of each journal in the directories below `root` that match the pattern."""
    for path in root.glob(f"{places}/*.*"):
        if path.suffix[1:].isdigit() and path.exists():
            yield int(path.suffix[1:]), path.read_text().splitlines()


def kill_whoever_holds(key: str, is_over: Callable[[], bool], journals: tuple[str, Path], deaths: list[str]) -> None:
    """Kill the worker that builds a clip, then the process that builds it in isolation; `deaths` records which died."""
    while not is_over():
        for pid, lines in journal_lines(*journals):
            if f"+{key}" in lines and f"-{key}" not in lines and psutil.pid_exists(pid):
                alone = building_alone(pid)
                victim = alone[0] if alone else pid
                if "alone" not in deaths and not (deaths and not alone):
                    os.kill(victim, signal.SIGKILL)
                    deaths.append("alone" if alone else "worker")
        time.sleep(0.002)


def building_alone(worker: int) -> list[int]:
    """The child processes of a worker that build a single clip in isolation."""
    try:
        children = psutil.Process(worker).children()
        return [child.pid for child in children if "motionshards.pipeline.clips.isolate" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []
