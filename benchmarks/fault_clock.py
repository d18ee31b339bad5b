"""A clock that jumps during a build, simulated by a preloaded library: the machine's clock must not be changed."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.fault_build import Bench, CannotInject, Here, Row, Site
from benchmarks.fault_cluster import Cluster

_TRIAL_S = 100_000
# Shifts the times that the C library returns to a process as soon as JUMP_FILE exists.
_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    const char *file = getenv("JUMP_FILE"), *seconds = getenv("JUMP_SECONDS");
    return file && seconds && access(file, F_OK) == 0 ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec fine;
    int status = clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return status;
}

time_t time(time_t *place) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (place) *place = fine.tv_sec;
    return fine.tv_sec;
}
"""


def jump(bench: Bench, row: Row, times: int, seconds: int, *, dask: bool) -> None:
    """Shift the clocks of driver, workers and scheduler after the first shard. They stay shifted in further runs."""
    library = _library(bench)
    for number in range(times):
        file = bench.work / f"jumped-{dask}-{seconds}-{number}"
        clock = _variables(library, file, seconds)
        if dask:
            with Cluster(bench.work / f"cluster-{file.name}", environment=clock) as cluster:
                _jump(bench, cluster, row, file, clock)
        else:
            _jump(bench, Here(), row, file, clock)


def _jump(bench: Bench, site: Site, row: Row, file: Path, clock: dict[str, str]) -> None:
    build = bench.build(site).start(clock)
    if build.until(build.has_committed):
        file.touch()
        row.times += 1
        bench.finish(row, build, again=lambda b: b.start(clock))
    else:
        bench.finish_without_fault(build)


def _variables(library: Path, file: Path, seconds: int) -> dict[str, str]:
    return {"LD_PRELOAD": str(library), "JUMP_FILE": str(file), "JUMP_SECONDS": str(seconds)}


def _library(bench: Bench) -> Path:
    """Compile the library and check that Python uses it."""
    library, source, there = bench.work / "clock.so", bench.work / "clock.c", bench.work / "there"
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotInject("there is no C compiler")
    source.write_text(_CLOCK)
    there.touch()
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    command = [sys.executable, "-c", "import datetime, time; print(min(time.time(), datetime.datetime.now().timestamp()))"]
    variables = {**os.environ, **_variables(library, there, _TRIAL_S)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    if abs(float(done.stdout) - _TRIAL_S - time.time()) > _TRIAL_S / 2:
        raise CannotInject("Python does not get the time from the C library")
    return library
