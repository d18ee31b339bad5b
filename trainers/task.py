"""What the training loop asks of a model, and what a model's settings ask of the data."""

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

    name: of the model, as `--model` has it
    config: plain values that go into the checkpoint, and must be the same to go on from it
    networks, optimizers, schedulers: by the names under which checkpoints hold them
    names: lists of what rows of weights belong to, as the videos of a discriminator that knows each; they travel with
        checkpoints, and must be the same to go on
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

    def begin(self, content: Mapping[str, Any], path: Path) -> None:
        """Begin with the weights of a checkpoint at `path`, ours or the authors'. Raises ConfigError: they do not fit."""

    def step(self, batch: Batch, chance: torch.Generator, number: int) -> dict[str, Tensor]:
        """Train on a batch; gives the losses, detached scalars: a step may leave some out.

        chance: all that is drawn at random is drawn from it
        number: of the step, from 0 on
        """

    def images(self) -> Mapping[str, Tensor] | None:
        """What the last step saw and made, float [B,3,H,W] in [0, 1] by label, a column each; None before the first step."""

    def end_epoch(self) -> None:
        """Let the schedulers step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """How a task computes; none of it changes what is learned, but for rounding.

    precision: `fp32`, or `bf16` by autocast
    compiled: networks go through torch.compile
    channels_last: memory format of networks and pictures
    accumulate: parts of a batch that go through the networks one after the other; batch statistics are those of a part
    vgg, vggface: weights of the networks that compare pictures, see `trainers.vgg.load`
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
        """The context of forward passes."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def parts(self, count: int) -> list[slice]:
        """The rows of a batch of `count`, in the parts that go through the networks one after the other."""
        each = -(-count // self.accumulate)
        return [slice(start, start + each) for start in range(0, count, each)]

    def prepared(self, network: nn.Module) -> nn.Module:
        """A network on the device, with statistics over all processes where CUDA can, in its memory format."""
        if self.world.size > 1 and self.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        network = network.to(self.device)
        return network.to(memory_format=torch.channels_last) if self.channels_last else network  # type: ignore[call-overload]


class _Architecture(Protocol):
    @property
    def size(self) -> int: ...


class Configured(Protocol):
    """What the configs of all models have; the size of the architecture is the side of its images in pixels."""

    @property
    def training(self) -> TrainingSettings: ...

    @property
    def architecture(self) -> _Architecture: ...


C = TypeVar("C", bound=Configured)


@dataclass(frozen=True, slots=True)
class Plan(ABC, Generic[C]):
    """Settings of a model before there are networks: what it requires of the data."""

    config: C

    @property
    @abstractmethod
    def view(self) -> View:
        """What a sample is."""

    @abstractmethod
    def task(self, means: Means, stream: ClipStream) -> Task:
        """The networks, ready to be trained on the clips of `stream`. Raises ConfigError: weights that it needs are absent."""
