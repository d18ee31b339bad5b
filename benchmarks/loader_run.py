"""One side of `benchmarks.loader` in a process of its own, so that the sides' packages do not meet.

    python -m benchmarks.loader_run  < an Order as JSON  > figures as JSON

A side is a function of an Order. It gives an endless iterator of batches, which is measured, or None: then it has written
the data of another side into `form`.
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
_LEAST_BATCHES = 2
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done.

    side: module:function
    data: directory of the data set in our format
    form: directory of the same frames as the side needs them
    cores: processes or workers
    batch, frames: clips of a batch, frames of each
    batches, seconds: the measurement ends at either, whichever comes first
    step_ms: Python work between two batches, as a training step has it
    size: of the frames, one of the sizes of `data`; None for its own
    device: where batches go, for the sides that copy them
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
    """The answer of a side in a process of its own, by the interpreter that has its packages."""
    plain = os.environ | {"OPENBLAS_NUM_THREADS": "1"} | environment  # numpy's threads would fight with the workers
    command, words = [python, "-m", "benchmarks.loader_run"], json.dumps(asdict(order))
    done = subprocess.run(command, input=words, capture_output=True, text=True, cwd=_ROOT, env=plain, check=False)
    if done.returncode:
        raise SystemExit(f"{order.side} ended with status {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Follow the order from standard input."""
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
    """Clips a second, CPU ms a clip of this process and all below it, and ms of waiting for a batch.

    The first batches are left out: they were made while the workers started, up to two of each worker ahead.
    """
    for _ in range(2 * order.cores + 1):
        _check(next(batches), order)
    start, cpu_start_s, count, waited_s = time.perf_counter(), _cpu_s(), 0, 0.0
    while count < order.batches and (count < _LEAST_BATCHES or time.perf_counter() - start < order.seconds):
        asked = time.perf_counter()
        next(batches)
        waited_s += time.perf_counter() - asked
        _work(order.step_ms)
        count += 1
    seconds, clips = time.perf_counter() - start, count * order.batch
    cpu_ms = (_cpu_s() - cpu_start_s) * 1e3
    return {"clips_per_s": clips / seconds, "cpu_ms": cpu_ms / clips, "waited_ms": waited_s * 1e3 / count}


def _check(batch: Any, order: Order) -> None:
    """A side that gives no pictures, or fewer, would be fast."""
    pictures = np.asarray(batch.cpu() if hasattr(batch, "cpu") else batch)
    if pictures.shape[:2] != (order.batch, order.frames) or min(pictures[:, :, ::8, ::8].reshape(order.batch, -1).std(1)) == 0:
        raise SystemExit(f"{order.side} gave {pictures.shape}, or pictures of one colour")


def _work(step_ms: float) -> None:
    """Pure Python that holds the interpreter's lock."""
    end, turns = time.perf_counter() + step_ms / 1e3, 0
    while time.perf_counter() < end:
        turns += 1


def _cpu_s() -> float:
    """CPU seconds of this process, of all below it, and of those these have waited for."""
    return sum(_family().values())


def _family() -> dict[int, float]:
    """This process and all below it, and their CPU seconds."""
    spent_s, children = dict[int, float](), defaultdict[int, list[int]](list)
    for entry in os.listdir("/proc"):
        fields = _stat(entry) if entry.isdigit() else None
        if fields:
            spent_s[int(entry)] = sum(map(int, fields[11:15])) * _TICK_S
            children[int(fields[1])].append(int(entry))
    family = [os.getpid()]
    for process in family:  # grows while it is walked
        family += children[process]
    return {process: spent_s[process] for process in family}


def _end_workers() -> None:
    """End what this process started: workers that still read ahead would keep its output open."""
    for process in _family():
        if process != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _stat(pid: str) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return None


if __name__ == "__main__":
    main()
