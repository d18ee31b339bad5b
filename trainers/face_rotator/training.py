"""Training of one of the face rotator's networks: requirements on the data, and one step."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.stream import ClipStream
from motionshards.dataset.views import PosePairs
from motionshards.schemas.errors import ConfigError
from motionshards.trainers import vgg
from motionshards.trainers.face_rotator.color import to_frames
from motionshards.trainers.face_rotator.config import Config
from motionshards.trainers.face_rotator.losses import TAPS, PerceptualDistance, pixel_distance
from motionshards.trainers.face_rotator.networks import is_trained, make_networks
from motionshards.trainers.face_rotator.pairs import PosedPairs, posed_pairs
from motionshards.trainers.face_rotator.restore import fill
from motionshards.trainers.parallel import broadcast_weights, mean_over_processes, update
from motionshards.trainers.task import Plan, Runtime

_GRID_ROWS = 4


@dataclass(frozen=True, slots=True)
class FaceRotatorPlan(Plan[Config]):
    """The plan of a training of one of the networks."""

    @property
    def view(self) -> PosePairs:
        """See Plan."""
        return self.config.training.view()

    def task(self, runtime: Runtime, stream: ClipStream) -> "FaceRotatorTask":
        """See Plan. Raises ConfigError also if the dataset has no landmarks."""
        if not stream.catalog.arrays["landmarks"][:, 1].any():
            raise ConfigError(
                "face_rotator needs landmarks, and the dataset has none: add them with dataset.build --add landmarks"
            )
        return FaceRotatorTask(self.config, runtime, len(stream))


class FaceRotatorTask:
    """See `trainers.task.Task`. Trains one network and keeps the others unchanged.

    steps: steps per epoch
    """

    name = "face_rotator"
    names: Mapping[str, Sequence[str]] = {}
    schedulers: Mapping[str, LRScheduler] = {}

    def __init__(self, config: Config, runtime: Runtime, steps: int) -> None:
        self.config: dict[str, Any] = config.to_json()
        self._settings, self._runtime = config.training, runtime
        self._stage = config.training.stage
        networks = make_networks(config.architecture, still=config.training.still_flow)
        self.networks: dict[str, nn.Module] = {name: runtime.prepared(network) for name, network in networks.items()}
        for name, network in self.networks.items():
            network.requires_grad_(name == self._stage)
        broadcast_weights(self.networks.values())
        first, second = self._settings.betas
        adam = Adam(self.networks[self._stage].parameters(), self._settings.learning_rate, (first, second))
        self.optimizers: dict[str, Optimizer] = {f"optimizer_{self._stage}": adam}
        self._called = {name: torch.compile(network) if runtime.compiled else network for name, network in self.networks.items()}
        # The morpher has no perceptual loss, so it needs no VGG16 weights.
        vgg_network = None if self._stage == "morpher" else vgg.load(runtime.vgg, vgg.VGG16, TAPS)
        self._perceptual = None if vgg_network is None else PerceptualDistance(vgg_network).to(runtime.device)
        self._pixel_steps = math.ceil(self._settings.pixel_epochs * steps)
        self._shown: dict[str, Tensor] | None = None

    def load_weights(self, content: Mapping[str, Any], path: Path) -> None:
        """See Task. Loads those of the three networks that the checkpoint contains."""
        fill(content, self.networks, path)

    def step(self, batch: Batch, rng: torch.Generator, number: int) -> dict[str, Tensor]:
        """See Task. Raises ConfigError: a combiner requires a trained rotator."""
        del rng
        self._check(number)
        pairs = posed_pairs(batch.to(self._runtime.device), self._settings)
        # Mean over processes, so that averaged gradients weight all usable pairs equally, however they are distributed.
        fit = mean_over_processes(pairs.fit.sum()).clamp(min=1 / self._runtime.world.size)
        parts = [self._train_on(pairs[rows], fit, number) for rows in self._runtime.parts(len(batch))]
        update((self.networks[self._stage],), self.optimizers[f"optimizer_{self._stage}"])
        losses = {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
        return {**losses, "unfit": 1 - pairs.fit.mean()}

    def images(self) -> dict[str, Tensor] | None:
        """See Task: source, target, and the outputs of the stage: the painted and the moved image of a rotator, these two and
        the result of a combiner, all without alpha.
        """
        if self._shown is None:
            return None
        with torch.no_grad():
            return {label: to_frames(images[:_GRID_ROWS].float()) for label, images in self._shown.items()}

    def end_epoch(self) -> None:
        """See Task. The learning rate is constant."""

    def _check(self, number: int) -> None:
        if number == 0 and self._stage == "combiner" and not is_trained(self.networks["rotator"]):
            raise ConfigError(
                "the combiner needs a trained rotator, and this one was never trained: pass --init RUN/last.pt of a run of "
                "--config rotator"
            )

    def _train_on(self, pairs: PosedPairs, fit: Tensor, number: int) -> dict[str, Tensor]:
        """Accumulate gradients and return the losses. fit: number of usable pairs, averaged over processes."""
        pairs = self._in_memory_format(pairs)
        perceptual = self._perceptual if number >= self._pixel_steps else None
        kind, distance = ("pixel", pixel_distance) if perceptual is None else ("perceptual", perceptual)
        with self._runtime.autocast():
            displayed, compared = self._outputs(pairs)
            distances = {f"{kind}_{name}": distance(image, pairs.target) for name, image in compared.items()}
            losses = {name: (values * pairs.fit).sum() / fit for name, values in distances.items()}
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        shown = {"source": pairs.source, "target": pairs.target, **displayed, **compared}
        self._shown = {label: images.detach() for label, images in shown.items()}
        return {name: loss.detach() for name, loss in losses.items()}

    def _in_memory_format(self, pairs: PosedPairs) -> PosedPairs:
        """Convert images to the networks' memory format."""
        form = torch.channels_last if self._runtime.channels_last else torch.contiguous_format
        source, target = (image.contiguous(memory_format=form) for image in (pairs.source, pairs.target))
        return PosedPairs(source=source, target=target, pose=pairs.pose, fit=pairs.fit)

    def _outputs(self, pairs: PosedPairs) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return images that are only displayed, and those that are compared with the target, by name."""
        if self._stage == "morpher":
            return {}, {"morphed": self._called["morpher"](pairs.source, pairs.pose).image}
        if self._stage == "rotator":
            rotated = self._called["rotator"](pairs.source, pairs.pose)
            return {}, {"painted": rotated.painted, "moved": rotated.moved}
        with torch.no_grad():
            rotated = self._called["rotator"](pairs.source, pairs.pose)
        combined = self._called["combiner"](rotated.painted, rotated.moved, pairs.pose)
        return {"painted": rotated.painted, "moved": rotated.moved}, {"combined": combined.image}
