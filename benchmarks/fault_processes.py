"""Process faults: workers and drivers killed at random moments, memory exhaustion, a clip that kills its process."""

import resource
import threading
import time
from contextlib import suppress
from functools import partial

import psutil

from benchmarks.fault_build import Bench, Build, Row, Site, keys
from benchmarks.fault_check import differences_without
from tests.support.under_fire import kill_whoever_holds

# Workers live for several to 30 seconds; most kills should hit them at work.
_LONGEST_WAIT_S = 5.0
_DEATH_S = 5.0
# Limit of waiting for a process that neither continues nor dies.
_DEATH_OF_HUNGER_S = 60.0
# A local build gives up after more than twelve deaths without a shard in between.
_MAX_A_BUILD = 10
# Builds per worker out of memory: some complete before the worker allocates more.
_TRIES = 5


def kill_workers(bench: Bench, site: Site, row: Row, times: int) -> None:
    """SIGKILL `times` workers one after another, several per build, in as many builds as needed."""
    while row.times < times:
        build = bench.build(site).start()
        before, enough = row.times, min(times, row.times + _MAX_A_BUILD)
        while row.times < enough and build.until(partial(site.workers, build)):
            time.sleep(bench.rng.uniform(0, _LONGEST_WAIT_S))
            if victim := _one_of(bench, site, build):
                victim.kill()
                row.times += 1
                time.sleep(0.3)
        if row.times > before:
            bench.finish(row, build)
        else:
            bench.finish_without_fault(build)


def starve_workers(bench: Bench, site: Site, row: Row, times: int) -> None:
    """Limit the address space of one worker per build to less than it uses. Workers that manage with it are not counted.

    A worker may still use free memory of its heap, so a limit at its current size would rarely have an effect: workers
    inherit their models.
    """
    for _ in range(_TRIES * times):
        if row.times == times:
            return
        build = bench.build(site).start()
        build.until(partial(site.workers, build))
        time.sleep(bench.rng.uniform(0, bench.seconds / 4))
        victim = _one_of(bench, site, build)
        if victim and _starves(victim, build, bench.shards):
            row.times += 1
            bench.finish(row, build, repair=site.restart)
        else:
            bench.finish_without_fault(build)
            site.restart()


def kill_drivers(bench: Bench, site: Site, row: Row, times: int) -> None:
    """SIGKILL the driver of each of `times` builds, at a moment between its start and its usual end."""
    while row.times < times:
        build = bench.build(site).start()
        time.sleep(bench.rng.uniform(0.3, bench.seconds))
        if build.is_over():
            bench.finish_without_fault(build)
            continue
        below = _descendants(build.driver.pid)
        build.driver.kill()
        row.times += 1
        _, alive = psutil.wait_procs(below, timeout=_DEATH_S)
        survived = f"{len(alive) or 'none'} of its processes survived" if below else "it had no child processes"
        bench.finish(row, build, outcome=f"killed; {survived}")


def poison(bench: Bench, site: Site, row: Row, times: int) -> None:
    """Kill each process that builds a certain clip, like a clip that crashes the decoder library.

    That is first a worker, then the process that builds the clip in isolation.
    """
    for key in bench.rng.sample(keys(bench), times):
        build = bench.build(site).start()
        deaths: list[str] = []
        killer = threading.Thread(target=kill_whoever_holds, args=(key, build.is_over, site.journals(build), deaths))
        killer.start()
        status = build.end()
        killer.join()
        row.times += 1
        row.remarks += [] if deaths == ["worker", "alone"] else [f"{build.directory.name}: {key} killed {deaths}"]
        ending = "continued, one clip rejected" if status == 0 else None
        bench.finish(row, build, outcome=ending, check=partial(differences_without, undisturbed=bench.undisturbed.out, key=key))


def _one_of(bench: Bench, site: Site, build: Build) -> psutil.Process | None:
    alive = sorted(site.workers(build), key=lambda process: process.pid)
    return bench.rng.choice(alive) if alive and not build.is_over() else None


def _starves(process: psutil.Process, build: Build, shards: int) -> bool:
    """Whether the process or its build dies of the limit before all shards exist."""
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_AS)  # a lowered hard limit cannot be raised again
        resource.prlimit(process.pid, resource.RLIMIT_AS, (process.memory_info().rss, hard))
        build.until(lambda: not _lives(process) or build.has_committed(shards), _DEATH_OF_HUNGER_S)
        return not build.has_committed(shards)
    return False


def _lives(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def _descendants(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return list(psutil.Process(pid).children(recursive=True))
    return []
