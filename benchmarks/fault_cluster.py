"""Faults of a Dask cluster: hosts that lose their network or power, and a scheduler that dies."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.fault_build import Bench, Build, Row
from benchmarks.report import ROOT
from motionshards.schemas.layout import WORK_DIR
from tests.support.hosts import Network
from tests.support.under_fire import wait_for

SCHEDULER, WORKERS, DRIVER = "head", ("left", "right"), "desk"
HOSTS = (SCHEDULER, *WORKERS, DRIVER)
_START_S = 60


class Cluster:
    """A scheduler and two single-threaded workers, on this machine or on hosts of `network`. Nannies restart killed workers.

    Each `with` block starts a new cluster.
    """

    def __init__(self, directory: Path, network: Network | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._directory, self._network, self._environment = directory, network, dict(environment or {})
        self._programs: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        self._directory.mkdir()
        self._start(SCHEDULER, "dask_scheduler", "--port", "0")
        wait_for(self._file.exists, _START_S)
        for host in WORKERS:
            one = ["--nthreads", "1", "--memory-limit", "0", "--local-directory", str(self._directory)]
            self._start(host, "dask_worker", *one)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for host in list(self._programs):
            self.kill(host)
        shutil.rmtree(self._directory)

    def options(self) -> list[str]:
        """The scheduler's file."""
        return ["--runner", "dask", "--dask-scheduler", str(self._file)]

    def workers(self, build: Build) -> list[psutil.Process]:
        """The processes below the nannies."""
        found = []
        for host in WORKERS:
            with suppress(psutil.NoSuchProcess):
                below = psutil.Process(self._programs[host].pid).children(recursive=True)
                found += [process for process in below if "spawn_main" in " ".join(process.cmdline())]
        return found

    def journals(self, build: Build) -> tuple[str, Path]:
        """On the shared disk."""
        return "journal-*", build.out / WORK_DIR

    def is_at_work(self, build: Build, host: str) -> bool:
        """Whether the worker of a host (on this machine: any worker) has started a clip of the build."""
        return bool(list((build.out / WORK_DIR).glob(f"journal-*/*.{host if self._network else '*'}.*")))

    def kill(self, host: str) -> None:
        """SIGKILL the program of a host and its descendants, like a power failure."""
        program = self._programs.pop(host)
        with suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(program.pid).children(recursive=True), psutil.Process(program.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        program.wait()

    def restart(self) -> None:
        """Stop all processes and start a new scheduler and workers: Dask workers exit 30 s after they have lost theirs."""
        self.__exit__(None, None, None)
        self.__enter__()

    @property
    def _file(self) -> Path:
        return self._directory / "scheduler.json"

    def _start(self, host: str, program: str, *arguments: str) -> None:
        where = ["--scheduler-file", str(self._file), "--no-dashboard"]
        command = [sys.executable, "-m", f"distributed.cli.{program}", *where, *arguments, "--host", self._address(host)]
        options: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, **self._environment}}
        with (self._directory / f"{host}.log").open("a") as log:
            options |= {"stdout": log, "stderr": log}
            start = partial(self._network.start, host) if self._network else subprocess.Popen
            self._programs[host] = start(command, **options)

    def _address(self, host: str) -> str:
        return self._network.address(host) if self._network else "127.0.0.1"


def cut_off(
    bench: Bench, network: Network, row: Row, times: int, host: str, seconds: float | None = None, *, power: bool = False
) -> None:
    """Cut a host's link once a worker has started, for `seconds` or permanently; `power`: its processes die, too."""
    for number in range(times):
        with Cluster(bench.work / f"cluster-{host}-{seconds}-{power}-{number}", network) as cluster:
            _cut_off_once(bench, network, cluster, row, host, seconds, power=power)


def _cut_off_once(
    bench: Bench, network: Network, cluster: Cluster, row: Row, host: str, seconds: float | None, *, power: bool
) -> None:
    start = partial(network.start, DRIVER)
    build = bench.build(cluster).start(start=start)
    busy_host = host if host in WORKERS else WORKERS[0]
    if not build.until(lambda: cluster.is_at_work(build, busy_host)):
        bench.finish_without_fault(build)
        return
    time.sleep(bench.rng.uniform(0, 1))
    network.cut(host)
    row.times += 1
    if power:
        cluster.kill(host)
    if seconds is not None:
        time.sleep(seconds)
        network.mend(host)

    def repair() -> None:
        network.mend(host)
        if host == SCHEDULER:
            cluster.restart()

    bench.finish(row, build, repair=repair, again=lambda b: b.start(start=start))


def kill_scheduler(bench: Bench, cluster: Cluster, row: Row, times: int) -> None:
    """SIGKILL the scheduler once a worker has started; a new cluster is started before the command is repeated."""
    for _ in range(times):
        build = bench.build(cluster).start()
        if not build.until(partial(cluster.is_at_work, build, "any")):
            bench.finish_without_fault(build)
            continue
        time.sleep(bench.rng.uniform(0, 2))
        cluster.kill(SCHEDULER)
        row.times += 1
        bench.finish(row, build, repair=cluster.restart)
