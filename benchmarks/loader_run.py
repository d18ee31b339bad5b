"""Runs one side of `benchmarks.loader` in a separate process, so that the sides' packages do not conflict.

    python -m benchmarks.loader_run  < an Order as JSON  > figures as JSON

A side is a function of an Order. It returns an endless iterator of batches, which is measured, or None if it has written the
data of another side into `form`.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_MIN_BATCHES = 2
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A task of this process.

    side: module:function
    data: directory of the dataset in this project's format
    form: directory of the same frames in the side's format
    cores: number of processes or workers
    batch, frames: clips per batch, frames per clip
    batches, seconds: the measurement ends at whichever comes first
    step_ms: Python work between two batches, like a training step
    size: size of the frames, one of those of `data`; None for its own
    device: destination of batches, for sides that copy them
    """

    side: str
    data: str
    form: str
    cores: int
    batch: int = 20
    frames: int = 2
    batches: int = 1
    seconds: float = 1.0
    step_ms: float = 0.0
    size: int | None = None
    device: str = "cpu"


def run_side(order: Order, python: str, **environment: str) -> Any:
    """Run a side in a separate process, with the interpreter that has its packages; returns its figures."""
    plain = os.environ | {"OPENBLAS_NUM_THREADS": "1"} | environment  # numpy's threads would compete with the workers
    command, words = [python, "-m", "benchmarks.loader_run"], json.dumps(asdict(order))
    done = subprocess.run(command, input=words, capture_output=True, text=True, cwd=_ROOT, env=plain, check=False)
    if done.returncode:
        raise SystemExit(f"{order.side} ended with status {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run the order given on standard input."""
    order = Order(**json.load(sys.stdin))
    module, _, name = order.side.partition(":")
    try:
        batches = getattr(importlib.import_module(module), name)(order)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    print(json.dumps({} if batches is None else measure(batches, order)), flush=True)
    _end_workers()
    os._exit(0)  # nothing waits for them


def measure(batches: Iterator[Any], order: Order) -> dict[str, float]:
    """Clips per second, CPU ms per clip of this process and its descendants, and ms of waiting per batch.

    The first batches are not measured: workers prepare up to two batches each while they start.
    """
    for _ in range(2 * order.cores + 1):
        _check(next(batches), order)
    start, cpu_start_s, count, waited_s = time.perf_counter(), _cpu_s(), 0, 0.0
    while count < order.batches and (count < _MIN_BATCHES or time.perf_counter() - start < order.seconds):
        requested = time.perf_counter()
        next(batches)
        waited_s += time.perf_counter() - requested
        _work(order.step_ms)
        count += 1
    seconds, clips = time.perf_counter() - start, count * order.batch
    cpu_ms = (_cpu_s() - cpu_start_s) * 1e3
    return {"clips_per_s": clips / seconds, "cpu_ms": cpu_ms / clips, "waited_ms": waited_s * 1e3 / count}


def _check(batch: Any, order: Order) -> None:
    """Raise if a side yields blank frames or too few: it would be fast."""
    frames = np.asarray(batch.cpu() if hasattr(batch, "cpu") else batch)
    if frames.shape[:2] != (order.batch, order.frames) or min(frames[:, :, ::8, ::8].reshape(order.batch, -1).std(1)) == 0:
        raise SystemExit(f"{order.side} yielded frames of shape {frames.shape}, or blank frames")


def _work(step_ms: float) -> None:
    """Pure Python that holds the GIL."""
    end, turns = time.perf_counter() + step_ms / 1e3, 0
    while time.perf_counter() < end:
        turns += 1


def _cpu_s() -> float:
    """CPU seconds of this process, its descendants, and the children that these have waited for."""
    return sum(_family().values())


def _family() -> dict[int, float]:
    """CPU seconds of this process and of each descendant, by PID."""
    spent_s, children = dict[int, float](), defaultdict[int, list[int]](list)
    for entry in os.listdir("/proc"):
        fields = _stat(entry) if entry.isdigit() else None
        if fields:
            spent_s[int(entry)] = sum(map(int, fields[11:15])) * _TICK_S
            children[int(fields[1])].append(int(entry))
    family = [os.getpid()]
    for process in family:  # grows during iteration
        family += children[process]
    return {process: spent_s[process] for process in family}


def _end_workers() -> None:
    """Kill the descendants of this process: workers that still prefetch would keep its output open."""
    for process in _family():
        if process != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _stat(pid: str) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has exited
        return None


if __name__ == "__main__":
    main()
