"""Faults of processes: workers and drivers that are killed at random moments, memory that runs out, a clip that kills."""

import resource
import threading
import time
from contextlib import suppress
from functools import partial

import psutil

from benchmarks.fault_build import Bench, Build, Row, Site, keys
from benchmarks.fault_check import differences_without
from tests.support.under_fire import kill_whoever_holds

# Workers live for some seconds to half a minute; most kills are to hit them at work.
_LONGEST_WAIT_S = 5.0
_DEATH_S = 5.0
# One that can neither go on nor die is not waited for longer.
_DEATH_OF_HUNGER_S = 60.0
# A local build gives up after more than twelve deaths without a shard in between.
_MOST_A_BUILD = 10
# Builds to one worker that is to starve: some are done before it asks for more memory.
_TRIES = 5


def kill_workers(bench: Bench, site: Site, row: Row, times: int) -> None:
    """SIGKILL one worker after another, some in every build, over as many builds as that takes."""
    while row.times < times:
        build = bench.build(site).start()
        before, enough = row.times, min(times, row.times + _MOST_A_BUILD)
        while row.times < enough and build.until(partial(site.workers, build)):
            time.sleep(bench.chance.uniform(0, _LONGEST_WAIT_S))
            if victim := _one_of(bench, site, build):
                victim.kill()
                row.times += 1
                time.sleep(0.3)
        if row.times > before:
            bench.settle(row, build)
        else:
            bench.missed(build)


def starve_workers(bench: Bench, site: Site, row: Row, times: int) -> None:
    """Limit the address space of a worker to less than it has, each in a build of its own. Who can do with it does not count.

    Free memory of its heap it may still use. A limit of all that it has would rarely be felt: workers inherit their models.
    """
    for _ in range(_TRIES * times):
        if row.times == times:
            return
        build = bench.build(site).start()
        build.until(partial(site.workers, build))
        time.sleep(bench.chance.uniform(0, bench.seconds / 4))
        victim = _one_of(bench, site, build)
        if victim and _starves(victim, build, bench.shards):
            row.times += 1
            bench.settle(row, build, mend=site.restart)
        else:
            bench.missed(build)
            site.restart()


def kill_drivers(bench: Bench, site: Site, row: Row, times: int) -> None:
    """SIGKILL the driver of each of `times` builds, at a moment between its start and its usual end."""
    while row.times < times:
        build = bench.build(site).start()
        time.sleep(bench.chance.uniform(0.3, bench.seconds))
        if build.is_over():
            bench.missed(build)
            continue
        below = _descendants(build.driver.pid)
        build.driver.kill()
        row.times += 1
        _, alive = psutil.wait_procs(below, timeout=_DEATH_S)
        survived = f"{len(alive) or 'none'} of its processes lived on" if below else "it had none below it"
        bench.settle(row, build, how=f"killed; {survived}")


def poison(bench: Bench, site: Site, row: Row, times: int) -> None:
    """Kill whoever has one clip in hand, as a clip would that crashes the decoder library.

    That is a worker, and then the process that is alone with it.
    """
    for key in bench.chance.sample(keys(bench), times):
        build = bench.build(site).start()
        deaths: list[str] = []
        killer = threading.Thread(target=kill_whoever_holds, args=(key, build.is_over, site.journals(build), deaths))
        killer.start()
        status = build.end()
        killer.join()
        row.times += 1
        row.remarks += [] if deaths == ["worker", "alone"] else [f"{build.place.name}: {key} killed {deaths}"]
        ending = "went on, one rejected" if status == 0 else None
        bench.settle(row, build, how=ending, check=partial(differences_without, undisturbed=bench.undisturbed.out, key=key))


def _one_of(bench: Bench, site: Site, build: Build) -> psutil.Process | None:
    alive = sorted(site.workers(build), key=lambda process: process.pid)
    return bench.chance.choice(alive) if alive and not build.is_over() else None


def _starves(process: psutil.Process, build: Build, shards: int) -> bool:
    """Whether the process or its build dies of the limit before all shards are there."""
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_AS)  # who lowers the hard limit may not raise it again
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
