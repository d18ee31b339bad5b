"""Builds under test: the undisturbed build that they are compared with, and how their runs end."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import psutil
import pyarrow.parquet as pq

from benchmarks.fault_check import differences, leftovers
from benchmarks.report import ROOT
from motionshards.dataset.add import RESUME
from motionshards.pipeline.runners.worker_client import NAME
from motionshards.pipeline.sources import SOURCES
from motionshards.schemas.layout import INDEX
from motionshards.schemas.manifest import Manifest
from tests.support.under_fire import hashes, wait_for

OPTIONS = ("--size", "96", "--clips-per-shard", "6")
_PATIENCE_S = 180
_MAX_RERUNS = 3
_MAX_MESSAGE_CHARS = 120
# Parts of messages that differ between runs: ports, and names of temporary directories.
_VARYING = re.compile(r"(?<=\d:)\d{4,5}\b|(?<=motionshards-)\w{8}\b")


class CannotInject(Exception):
    """A fault cannot be injected on this machine; the message says why."""


@dataclass(slots=True)
class Row:
    """Results for one fault.

    times: number of injections
    ended: number of affected runs by how they ended
    reruns: how often the command was repeated until the build was complete
    equal: whether all builds equal the undisturbed one
    remarks: other observations, and differences
    """

    times: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    reruns: int = 0
    equal: bool = True
    remarks: list[str] = field(default_factory=list)


class Site(Protocol):
    """Where builds run: this machine, or a cluster."""

    def options(self) -> list[str]:
        """Additional options of the build command."""

    def workers(self, build: "Build") -> list[psutil.Process]:
        """The processes that currently build its clips."""

    def journals(self, build: "Build") -> tuple[str, Path]:
        """Where its journals are: the pattern of their directories, and the parent directory."""

    def restart(self) -> None:
        """Restore healthy workers."""


class Build:
    """A dataset being built: its directory, and the current run of `dataset.build`."""

    def __init__(self, directory: Path, out: Path, videos: Path, site: Site) -> None:
        self.directory, self.out = directory, out
        self._videos, self._site, self.runs = videos, site, 0
        directory.mkdir()

    def start(
        self,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], object] | None = None,
        start: Callable[..., subprocess.Popen[str]] = subprocess.Popen,
    ) -> "Build":
        """Run the command: with additional variables, after calling `before` in the new process, started by `start` if given."""
        build = ["-m", "dataset.build", "--source", "voxceleb2", "--json", "--quiet"]
        build += ["--input", str(self._videos), "--output", str(self.out)]
        command = [sys.executable, *build, *OPTIONS, *self._site.options()]
        self.runs += 1
        with self._log.open("w") as log:
            variables = {**os.environ, "TMPDIR": str(self.directory), "PYTHONFAULTHANDLER": "1", **(environment or {})}
            self.driver = start(command, cwd=ROOT, env=variables, stdout=log, stderr=log, preexec_fn=before)
        return self

    @property
    def _log(self) -> Path:
        return self.directory / f"run-{self.runs}.log"

    def is_over(self) -> bool:
        """Whether the driver has ended."""
        return self.driver.poll() is not None

    def until(self, condition: Callable[[], object], seconds: float = 120) -> bool:
        """Wait until a condition holds, the driver ends or the time is up; returns whether the driver is still running."""
        with suppress(AssertionError):
            wait_for(lambda: condition() or self.is_over(), seconds)
        return not self.is_over()

    def has_committed(self, markers: int = 1) -> bool:
        """Whether at least this many shards are built."""
        return len(list(self.out.glob("t*/*.parquet"))) >= markers

    def end(self) -> int | None:
        """Wait for the driver to end; returns its status, or None if it hung and was killed. Python then prints its stack."""
        with suppress(subprocess.TimeoutExpired):
            return self.driver.wait(_PATIENCE_S)
        self.driver.send_signal(signal.SIGABRT)
        self.driver.wait()
        return None

    def hung_at(self) -> str:
        """The innermost line of the pipeline in the stack of a hung driver."""
        lines = self._log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in lines if f"{ROOT}/pipeline/" in line), "an unknown place").replace(f"{ROOT}/", "")

    def last_message(self) -> str:
        """The last line that the driver printed, without the paths of this machine."""
        lines = self._log.read_text(errors="replace").strip().splitlines() or [""]
        message = lines[-1].replace(str(self.out), "OUT").replace(str(self.directory), "TMP").removeprefix("error: ")
        message = _VARYING.sub("…", message)
        return message.removesuffix(f". {RESUME}")[:_MAX_MESSAGE_CHARS]


class Bench:
    """The input, its undisturbed build, and a directory for builds under test.

    check: returns the differences of an output from the undisturbed build
    clips, shards, seconds: planned clips, written shards and duration of the undisturbed build
    rng: random generator of the moments
    """

    def __init__(self, work: Path, copies: int, site: Site, seed: int) -> None:
        self.work, self.rng, self._number = work, random.Random(seed), 0
        self.videos = _many_clips(work, copies)
        start = time.monotonic()
        self.undisturbed = self.build(site).start()
        if self.undisturbed.end() != 0:
            raise SystemExit(f"the undisturbed build failed: {self.undisturbed.last_message()}")
        self.seconds = time.monotonic() - start
        self.check = partial(differences, expected=hashes(self.undisturbed.out))
        self.shards = len(list(self.undisturbed.out.glob("t*/*.parquet")))
        self.clips = int(Manifest.read(self.undisturbed.out).counts["planned"])

    def build(self, site: Site, out: Path | None = None) -> Build:
        """A new build; its output is beside its log and scratch files unless `out` is given."""
        self._number += 1
        directory = self.work / f"build-{self._number}"
        self._latest = Build(directory, out or directory / "out", self.videos, site)
        return self._latest

    def end(self) -> None:
        """Stop builds that are still running."""
        if not self._latest.is_over():
            self._latest.driver.kill()
            self._latest.driver.wait()

    def finish(
        self,
        row: Row,
        build: Build,
        repair: Callable[[], object] = lambda: None,
        outcome: str | None = None,
        again: Callable[[Build], Build] = Build.start,
        check: Callable[[Path], list[str]] | None = None,
    ) -> None:
        """Wait for a disturbed run to end and record how; undo the fault, repeat the command until it completes, and check.

        outcome: how the run ended, if its status does not show it; again: repeats the command
        """
        status = build.end()
        row.ended[outcome or _outcome(status, build)] += 1
        repair()
        while status != 0 and build.runs <= _MAX_RERUNS:
            row.reruns += 1
            status = again(build).end()
        wrong = (
            (check or self.check)(build.out)
            if status == 0
            else [f"{build.directory.name} never completes: {build.last_message()}"]
        )
        row.equal &= not wrong
        row.remarks += wrong
        if not wrong:
            row.remarks += leftovers(build.directory, build.out)
            shutil.rmtree(build.directory)

    def finish_without_fault(self, build: Build) -> None:
        """Check a build that completed before the fault was injected. It is not counted, but must be correct."""
        row = Row()
        self.finish(row, build)
        if not row.equal:
            raise SystemExit(f"an undisturbed build is wrong: {row.remarks}")


class Here:
    """Builds with two worker processes on this machine."""

    def options(self) -> list[str]:
        """Two workers."""
        return ["--workers", "2"]

    def workers(self, build: Build) -> list[psutil.Process]:
        """Beam's workers below the driver. A process that has been forked but has not called exec looks like a worker."""
        found: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(build.driver.pid).children(recursive=True):
                is_worker = process.name() == NAME
                if is_worker and process.ppid() not in {worker.pid for worker in found}:
                    found.append(process)
            return found
        return []

    def journals(self, build: Build) -> tuple[str, Path]:
        """In the scratch directory of the run."""
        return "motionshards-*", build.directory

    def restart(self) -> None:
        """Do nothing: each run starts its own workers."""


def _outcome(status: int | None, build: Build) -> str:
    if status == 0:
        return "continued"
    if status is None:
        return f"HUNG for {_PATIENCE_S} s at {build.hung_at()}"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"ended with {status}: {build.last_message()}"


def _many_clips(work: Path, copies: int) -> Path:
    """Copy each of the demo's eight clips under several names, so that a build takes several seconds."""
    demo, root = work / "demo", work / "videos"
    SOURCES["demo"].prepare(demo)
    for identity in demo.glob("*/mp4/*"):
        for copy in range(copies):
            half = identity.parents[1].name
            shutil.copytree(identity, root / half / "mp4" / f"id{copy}-{identity.name[2:]}")
    shutil.rmtree(demo)
    return root


def keys(bench: Bench) -> list[str]:
    """The keys of all clips, in order."""
    return sorted(pq.read_table(bench.undisturbed.out / INDEX, columns=["key"])["key"].to_pylist())
