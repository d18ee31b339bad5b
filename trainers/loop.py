"""The training loop of all models: steps, logging, checkpoints, and exact resumption of stopped and killed runs.

Randomness in step s comes from a generator seeded with (seed, s) and is independent of earlier steps, so a run that was killed
and resumed computes the same as an uninterrupted one.
"""

import math
import re
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from motionshards.dataset.loader import Loader
from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.reading.order import hashed
from motionshards.schemas.errors import TrainingFailed
from motionshards.trainers.checkpoint import LAST, Progress, save
from motionshards.trainers.log import RATE, Log, tag
from motionshards.trainers.parallel import any_process, mean_over_processes
from motionshards.trainers.task import Task

# Ranks must stop at the same step, and the collective that agrees on it waits for the GPU.
_CHECK_STOP_EVERY = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Settings of a run.

    directory: for checkpoints, metrics and images
    epochs: total number of epochs
    seed: random seed
    log_every, save_every, images_every: intervals in steps
    keep_every: interval in epochs of checkpoints that are not overwritten
    stop_after: step after which to stop, or not to begin; None for the end of training
    quiet: show no progress bar
    """

    directory: Path
    epochs: int
    seed: int = 0
    log_every: int = 50
    save_every: int = 1000
    images_every: int = 1000
    keep_every: int = 10
    stop_after: int | None = None
    quiet: bool = False


def train(task: Task, loader: Loader, run: Run, progress: Progress) -> Progress:
    """Train from `progress` to the end, and return the progress reached.

    Raises:
        TrainingFailed: a loss or a weight became NaN or infinite; the last checkpoint is unchanged
        KeyboardInterrupt: after SIGINT or SIGTERM; a checkpoint was written
    """
    return _Training(task, loader, run, progress).run()


class _Training:
    def __init__(self, task: Task, loader: Loader, run: Run, progress: Progress) -> None:
        self._task, self._loader, self._options = task, loader, run
        self._epoch, self._step, self._saved = progress.epoch, progress.step, progress.step
        self._first = loader.stream.world.rank == 0
        self._log = Log(run.directory, progress.step) if self._first else None
        self._meter = _Meter()
        self._device = next(next(iter(task.networks.values())).parameters()).device
        if self._is_epoch_over():  # checkpoints of 0.1 that were written after the last step of an epoch
            self._end_epoch()

    def run(self) -> Progress:
        steps, last = len(self._loader) * self._options.epochs, self._options.stop_after
        quiet = self._options.quiet or not self._first
        total = steps if last is None else min(steps, last)
        with _Stop() as stop, tqdm(total=total, initial=self._step, disable=quiet, unit="step") as bar:
            while self._epoch < self._options.epochs and (last is None or self._step < last):
                for batch in self._meter.waiting(self._loader):
                    self._train_on(batch)
                    bar.update()
                    over = self._is_over(stop)
                    self._note(bar, is_last=over or (self._is_epoch_over() and self._epoch + 1 == self._options.epochs))
                    if self._is_epoch_over():
                        self._end_epoch()
                        self._save(keep=self._epoch % self._options.keep_every == 0)
                    elif over or self._step % self._options.save_every == 0:
                        self._save(keep=False)
                    if over:
                        return self._end(stop)
        return self._progress()

    def _is_epoch_over(self) -> bool:
        """Return whether the last batch of the epoch was trained on: the loader is then at the next epoch."""
        return self._step > 0 and self._loader.epoch > self._epoch

    def _end_epoch(self) -> None:
        """Step the schedulers, after an optimizer step in the same process, without which torch warns."""
        self._task.end_epoch()
        self._epoch += 1

    def _train_on(self, batch: Batch) -> None:
        rng = torch.Generator().manual_seed(int(hashed(self._options.seed, self._step, -6)[0] >> 1))
        losses = self._task.step(batch, rng, self._step)
        self._step += 1
        self._meter.add(losses, len(batch) * self._loader.stream.world.size)

    def _note(self, bar: Any, *, is_last: bool) -> None:
        """Log metrics and images at their intervals, metrics also of the first step, and both of the last one. Only then does it
        synchronize with the device.
        """
        if self._step % self._options.log_every == 0 or self._step == 1 or is_last:
            values = {"epoch": float(self._epoch), **self._checked(), **self._learning_rates()}
            loss = sum(value for name, value in values.items() if tag(name).startswith("loss/"))
            rate, waiting = f"{values['images_per_s']:.1f}", f"{values['waiting']:.1%}"
            bar.set_postfix({"loss": f"{loss:.4g}", "samples/s": rate, "waiting": waiting})
            if self._log is not None:
                self._log.scalars(self._step, values)
            self._meter.restart()
        if (self._step % self._options.images_every == 0 or is_last) and self._log is not None:
            images = self._task.images()
            if images is not None:
                self._log.images(self._step, images)

    def _learning_rates(self) -> dict[str, float]:
        """Return the learning rates of the last step by name of the optimizer, without those that train nothing."""
        optimizers = [(name, each) for name, each in self._task.optimizers.items() if _trains(each)]
        return {f"{RATE}{re.sub('^optimizer_?', '', name)}": float(each.param_groups[0]["lr"]) for name, each in optimizers}

    def _checked(self) -> dict[str, float]:
        """Return the means since the last restart. Raises TrainingFailed: one is NaN or infinite."""
        values = self._meter.means()
        if wrong := [name for name, value in values.items() if not math.isfinite(value)]:
            raise TrainingFailed(
                f"loss {', '.join(map(repr, wrong))} became NaN or infinite by step {self._step}; {self._last_saved()}"
            )
        return values

    def _save(self, *, keep: bool) -> None:
        """Write a checkpoint, unless a loss or weight is NaN or infinite. All ranks check, the first writes."""
        self._checked()
        if broken := [name for name, network in self._task.networks.items() if not _is_finite(network)]:
            raise TrainingFailed(f"weights of {', '.join(broken)} are NaN or infinite at step {self._step}; {self._last_saved()}")
        if self._first:
            save(self._options.directory / LAST, self._task, self._progress())
            if keep:
                save(self._options.directory / f"epoch-{self._epoch:04d}.pt", self._task, self._progress())
        self._saved = self._step

    def _last_saved(self) -> str:
        return f"{LAST} has step {self._saved}" if self._saved else "no checkpoint has been saved yet"

    def _progress(self) -> Progress:
        return Progress(self._epoch, self._step, self._loader.state_dict())

    def _is_over(self, stop: "_Stop") -> bool:
        if self._step == self._options.stop_after:
            return True
        if self._loader.stream.world.size == 1:
            return stop.requested
        return self._step % _CHECK_STOP_EVERY == 0 and any_process(stop.requested, self._device)

    def _end(self, stop: "_Stop") -> Progress:
        if stop.requested:
            raise KeyboardInterrupt
        return self._progress()


class _Meter:
    """Accumulates losses and timings since the last restart. Losses stay on the device until `means` is called."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self.restart()

    def restart(self) -> None:
        self._sums, self._counts, self._samples, self._waited_s = {}, {}, 0, 0.0
        self._started = time.perf_counter()

    def waiting(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, and add up the time spent waiting for them."""
        iterator = iter(batches)
        while True:
            start = time.perf_counter()
            batch = next(iterator, None)
            self._waited_s += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def add(self, losses: dict[str, Tensor], samples: int) -> None:
        self._samples += samples
        for name, loss in losses.items():
            self._sums[name] = self._sums[name] + loss if name in self._sums else loss.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Return mean losses over processes and the steps that had them, `images_per_s`, the samples per second of all processes,
        and `waiting`, the share of time spent waiting for data.
        """
        names = list(self._sums)
        if not names:
            return {}
        values = mean_over_processes(torch.stack([self._sums[name].float() / self._counts[name] for name in names])).tolist()
        elapsed_s = max(time.perf_counter() - self._started, 1e-9)
        return {
            **dict(zip(names, values, strict=True)),
            "images_per_s": self._samples / elapsed_s,
            "waiting": self._waited_s / elapsed_s,
        }


class _Stop:
    """Records SIGINT and SIGTERM, so that the current step is finished first. A second SIGINT stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Stop":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


def _trains(optimizer: torch.optim.Optimizer) -> bool:
    return any(parameter.requires_grad for group in optimizer.param_groups for parameter in group["params"])


def _is_finite(network: torch.nn.Module) -> bool:
    """Return whether all weights and statistics are finite, with one synchronization."""
    floating = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
    return bool(torch.stack([tensor.isfinite().all() for tensor in floating]).all())
