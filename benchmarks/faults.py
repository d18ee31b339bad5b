"""Inject faults into builds, and check that they write what an undisturbed build writes.

    python -m benchmarks.faults [--kills 100] [--quick] [--only WORD] [--results FILE]

After a fault, the same command is repeated until the build is complete. Then the SHA-256 of every shard and marker is compared
with the undisturbed build's, `dataset.verify` reads everything, and each planned clip must be kept or rejected exactly once. The
faults are real: signals, kernel limits and mounts, links of network namespaces set down. Only clock jumps are simulated, in the
C library.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cyclopts.types import PositiveInt

from benchmarks.fault_build import OPTIONS, Bench, CannotInject, Here, Row
from benchmarks.fault_clock import jump
from benchmarks.fault_cluster import DRIVER, HOSTS, SCHEDULER, WORKERS, Cluster, cut_off, kill_scheduler
from benchmarks.fault_disks import fill_disk, limit_files, seal_disk
from benchmarks.fault_processes import kill_drivers, kill_workers, poison, starve_workers
from benchmarks.report import Report, ReportOptions, benchmark
from motionshards.dataset.commandline import stop_on_signals
from tests.support.hosts import Network, why_none

_DAY_S = 86_400
_COPIES, _QUICK_COPIES = 2, 1
_COLUMNS = ("fault", "injected by", "times", "what the build did", "repetitions", "equal")


@dataclass(frozen=True, kw_only=True)
class FaultsOptions(ReportOptions):
    """Options of the benchmark."""

    kills: PositiveInt = 100
    """Workers to kill, half of them on Dask; a tenth as many run out of memory, and as many drivers are killed."""
    quick: bool = False
    """Inject only a few quick faults of each kind, into builds of half as many clips."""
    only: str = ""
    """Only faults with this text in their name."""
    seed: int = 0
    """Random seed of moments and target processes."""


class Sites:
    """Where builds run; a cluster and a network are created on first use."""

    def __init__(self, work: Path, stack: ExitStack) -> None:
        self._work, self._stack = work, stack
        self._dask: Cluster | None = None
        self._network: Network | None = None

    def dask(self) -> Cluster:
        """A cluster on this machine, shared by all faults that leave it intact."""
        if self._dask is None:
            self._dask = self._stack.enter_context(Cluster(self._work / "cluster"))
        return self._dask

    def network(self) -> Network:
        """Hosts for a multi-host cluster. Raises CannotInject if they cannot be created."""
        if self._network is None:
            if why := why_none():
                raise CannotInject(why)
            self._network = self._stack.enter_context(Network(HOSTS))
        return self._network


Strike = Callable[[Sites, Bench, Row, int], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: its name, how it is injected, the function that injects it, and how often in a full and in a quick run."""

    name: str
    injected_by: str
    strike: Strike
    times: int
    quick: int = 0


def faults(kills: int) -> list[Fault]:
    """All faults."""
    half, some = max(1, kills // 2), max(1, kills // 20)
    return [
        Fault("worker killed, local", "SIGKILL, random moments", _here(kill_workers), half, 2),
        Fault("worker killed, Dask", "SIGKILL, random moments", _dask(kill_workers), half, 2),
        Fault("driver killed, local", "SIGKILL, random moment", _here(kill_drivers), some, 1),
        Fault("driver killed, Dask", "SIGKILL, random moment", _dask(kill_drivers), some),
        Fault("worker out of memory, local", "RLIMIT_AS, random moment", _here(starve_workers), some, 1),
        Fault("worker out of memory, Dask", "RLIMIT_AS, random moment", _dask(starve_workers), some),
        Fault("clip that kills its process, local", "SIGKILL to the process that builds it", _here(poison), 2),
        Fault("clip that kills its process, Dask", "SIGKILL to the process that builds it", _dask(poison), 2),
        Fault("disk full", "tmpfs of half the size, then a larger one", _here(fill_disk), 2, 1),
        Fault("file size limit", "RLIMIT_FSIZE, then none", _here(limit_files), 2),
        Fault("output becomes read-only", "a read-only mount, then unmounted", _here(seal_disk), 2, 1),
        Fault("clock jumps a year ahead, local", "LD_PRELOAD", partial(_jump, 365 * _DAY_S, False), 2, 1),
        Fault("clock jumps a day back, local", "LD_PRELOAD", partial(_jump, -_DAY_S, False), 2),
        Fault("clock jumps a year ahead, Dask", "LD_PRELOAD, scheduler too", partial(_jump, 365 * _DAY_S, True), 2),
        Fault("clock jumps a day back, Dask", "LD_PRELOAD, scheduler too", partial(_jump, -_DAY_S, True), 2),
        Fault("scheduler killed", "SIGKILL", _dask(kill_scheduler), 2),
        Fault("worker's host cut off for 10 s", "link of a namespace down", _cut(WORKERS[1], 10), 1),
        Fault("worker's host cut off permanently", "link of a namespace down", _cut(WORKERS[1]), 2),
        Fault("worker's host loses power", "link down, then SIGKILL to all", _cut(WORKERS[1], power=True), 2),
        Fault("scheduler's host cut off for 10 s", "link of a namespace down", _cut(SCHEDULER, 10), 1),
        Fault("scheduler's host cut off for 60 s", "link of a namespace down", _cut(SCHEDULER, 60), 1),
        Fault("driver's host cut off for 10 s", "link of a namespace down", _cut(DRIVER, 10), 1),
        Fault("driver's host cut off permanently", "link of a namespace down", _cut(DRIVER), 1),
    ]


@benchmark("faults")
def main(options: FaultsOptions) -> None:
    """Inject faults into builds, and check that they write what an undisturbed build writes."""
    stop_on_signals()
    report = Report("benchmarks/faults.py: disturbed builds compared with an undisturbed one", options)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="motionshards-faults-") as scratch, ExitStack() as stack:
        bench = Bench(Path(scratch), _QUICK_COPIES if options.quick else _COPIES, Here(), options.seed)
        stack.callback(bench.end)
        sites = Sites(bench.work, stack)
        chosen = [fault for fault in faults(options.kills) if options.only in fault.name and (fault.quick or not options.quick)]
        found = [(fault, _injected(fault, sites, bench, fault.quick if options.quick else fault.times)) for fault in chosen]
    report.note(
        f"Input: {bench.clips} rendered clips, `{' '.join(OPTIONS)}`; undisturbed {bench.seconds:.0f} s with two workers."
    )
    report.table("Faults", _COLUMNS, [_cells(fault, row) for fault, row in found if isinstance(row, Row)])
    for fault, row in found:
        for remark in [f"not injected, {row}"] if isinstance(row, str) else dict.fromkeys(row.remarks):
            report.note(f"{fault.name}: {remark}.")
    report.finish(_figures([(fault, row) for fault, row in found if isinstance(row, Row)], len(found), time.monotonic() - start))


def _injected(fault: Fault, sites: Sites, bench: Bench, times: int) -> Row | str:
    """The results, or why the fault cannot be injected here."""
    row, start = Row(), time.monotonic()
    try:
        fault.strike(sites, bench, row, times)
    except CannotInject as error:
        return str(error)
    print(f"{time.monotonic() - start:.0f} s: {' | '.join(map(str, _cells(fault, row)))}", flush=True)
    return row


def _cells(fault: Fault, row: Row) -> tuple[Any, ...]:
    did = "; ".join(f"{count}× {outcome}" for outcome, count in row.ended.most_common())
    return fault.name, fault.injected_by, row.times, did, row.reruns, "yes" if row.equal else "NO"


def _figures(found: list[tuple[Fault, Row]], selected: int, seconds: float) -> dict[str, Any]:
    """The figures of the last line. A fault that was never injected does not count as equal."""
    rows = [row for _, row in found]
    return {
        "faults": len(rows),
        "equal": sum(row.equal and row.times > 0 for row in rows),
        "kills": sum(row.times for fault, row in found if fault.name.startswith("worker killed")),
        "strikes": sum(row.times for row in rows),
        "runs": sum(row.ended.total() + row.reruns for row in rows),
        "not_made": selected - len(rows),
        "seconds": seconds,
    }


def _here(strike: Callable[[Bench, Here, Row, int], None]) -> Strike:
    return lambda sites, bench, row, times: strike(bench, Here(), row, times)


def _dask(strike: Callable[[Bench, Cluster, Row, int], None]) -> Strike:
    return lambda sites, bench, row, times: strike(bench, sites.dask(), row, times)


def _cut(host: str, seconds: float | None = None, *, power: bool = False) -> Strike:
    return lambda sites, bench, row, times: cut_off(bench, sites.network(), row, times, host, seconds, power=power)


def _jump(seconds: int, dask: bool, sites: Sites, bench: Bench, row: Row, times: int) -> None:
    jump(bench, row, times, seconds, dask=dask)


if __name__ == "__main__":
    sys.exit(main())
