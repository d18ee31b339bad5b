"""Time measurement and device names of benchmarks that run on a CPU or a GPU."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from motionshards.trainers.parallel import choose_device

T = TypeVar("T")


def device_and_name(option: str, threads: int | None = None) -> tuple[str, str]:
    """The device that `--device` selects (`cpu` or a CUDA device), and its name for reports. Raises ConfigError: no such device.

    threads: number of CPU threads; None leaves it to torch
    """
    device = str(choose_device(option))
    if device == "cpu" and threads is not None:
        torch.set_num_threads(threads)
    name = f"CPU, threads: {torch.get_num_threads()}" if device == "cpu" else torch.cuda.get_device_name(device)
    return device, f"{name}, torch {torch.__version__}"


def timed(device: str, run: Callable[[], T], calls: int = 1) -> tuple[float, T]:
    """Seconds per call of `run`, and the result of the last call.

    On a CPU: the CPU time of this process, which other load distorts less than wall time. On a GPU: the time between two CUDA
    events around `calls` consecutive calls, so that launches do not count where kernels take longer than their launches.
    """
    if device == "cpu":
        start = time.process_time()
        result = [run() for _ in range(calls)][-1]
        return (time.process_time() - start) / calls, result
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    with torch.cuda.device(device):
        torch.cuda.synchronize()
        begin.record()
        for _ in range(calls):
            result = run()
        end.record()
        torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3 / calls, result


def medians(device: str, rounds: int, sides: Mapping[str, Callable[[], Any]], calls: int = 1) -> dict[str, float]:
    """Median seconds per call of each side; the sides alternate, after one round to warm up."""
    seen: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds + 1):
        for side, run in sides.items():
            seen[side].append(timed(device, run, calls)[0])
    return {side: statistics.median(seconds[1:]) for side, seconds in seen.items()}
