"""The interfaces between the training loop and models: a plan, which states the requirements on data, and a task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.reading.view import View
from motionshards.dataset.reading.world import World
from motionshards.dataset.stream import ClipStream
from motionshards.trainers.settings import TrainingSettings

PRECISIONS = ("fp32", "bf16")


class Task(Protocol):
    """A model in training.

    name: name of the model, as in `--model`
    config: plain values that are stored in checkpoints; a run resumes only with equal ones, see also
        `TrainingSettings.can_extend`
    networks, optimizers, schedulers: by their keys in checkpoints
    names: lists of what rows of weights belong to, such as the videos of a discriminator with a vector for each; stored in
        checkpoints, and a run resumes only with equal ones
    """

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def networks(self) -> Mapping[str, nn.Module]: ...

    @property
    def optimizers(self) -> Mapping[str, Optimizer]: ...

    @property
    def schedulers(self) -> Mapping[str, LRScheduler]: ...

    @property
    def names(self) -> Mapping[str, Sequence[str]]: ...

    def load_weights(self, content: Mapping[str, Any], path: Path) -> None:
        """Load the weights of a checkpoint read from `path`, our own or the authors'. Raises ConfigError: they do not fit."""

    def step(self, batch: Batch, rng: torch.Generator, number: int) -> dict[str, Tensor]:
        """Train on a batch. Returns the losses by name, detached scalars; a step may omit some.

        rng: generator for everything random in this step, seeded with (seed, step)
        number: number of the step, from 0
        """

    def images(self) -> Mapping[str, Tensor] | None:
        """Inputs and outputs of the last step, float [B,3,H,W] in [0, 1] by column label; None before the first step."""

    def end_epoch(self) -> None:
        """Step the learning rate schedulers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """Settings of the computation. Except for the perceptual losses and batch statistics they change only rounding.

    precision: `fp32`, or `bf16` by autocast
    compiled: whether networks are compiled with torch.compile
    channels_last: whether networks and images use this memory format
    accumulate: number of parts in which a batch is processed; batch statistics are those of a part
    vgg, vggface: weights of the perceptual losses, see `trainers.vgg.load`
    """

    world: World
    device: torch.device
    precision: str = "fp32"
    compiled: bool = False
    channels_last: bool = False
    accumulate: int = 1
    vgg: str | None = None
    vggface: str | None = None

    def autocast(self) -> torch.autocast:
        """Return the autocast context of forward passes."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def parts(self, count: int) -> list[slice]:
        """Split the rows of a batch of `count` samples into at most `accumulate` slices."""
        each = -(-count // self.accumulate)
        return [slice(start, start + each) for start in range(0, count, each)]

    def prepared(self, network: nn.Module) -> nn.Module:
        """Move a network to the device and memory format; on several GPUs, batch statistics become those of all processes."""
        if self.world.size > 1 and self.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        network = network.to(self.device)
        return network.to(memory_format=torch.channels_last) if self.channels_last else network  # type: ignore[call-overload]


class _Architecture(Protocol):
    @property
    def size(self) -> int: ...


class Configured(Protocol):
    """Fields that the configs of all models have; `architecture.size` is the side of the images in pixels."""

    @property
    def training(self) -> TrainingSettings: ...

    @property
    def architecture(self) -> _Architecture: ...


C = TypeVar("C", bound=Configured)


@dataclass(frozen=True, slots=True)
class Plan(ABC, Generic[C]):
    """A configured model before its networks are built, with its requirements on the data."""

    config: C

    @property
    @abstractmethod
    def view(self) -> View:
        """The view that defines a sample."""

    @abstractmethod
    def task(self, runtime: Runtime, stream: ClipStream) -> Task:
        """Build the task that trains on the clips of `stream`. Raises ConfigError: required weights or data are missing."""
