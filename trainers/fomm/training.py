"""Training of the first order motion model: requirements on the data, and one step."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.stream import ClipStream
from motionshards.dataset.views import Pairs
from motionshards.trainers import vgg
from motionshards.trainers.checkpoint import load_networks
from motionshards.trainers.fomm.config import Config
from motionshards.trainers.fomm.discriminator import MultiScaleDiscriminator
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.images import step_images
from motionshards.trainers.fomm.keypoints import KPDetector
from motionshards.trainers.fomm.losses import DiscriminatorLoss, GeneratorLoss, GeneratorResult
from motionshards.trainers.parallel import broadcast_weights, update
from motionshards.trainers.task import Plan, Runtime
from motionshards.transforms.augment.tps import Warp

_GRID_ROWS = 4


@dataclass(frozen=True, slots=True)
class FommPlan(Plan[Config]):
    """The plan of a training of the first order motion model."""

    @property
    def view(self) -> Pairs:
        """See Plan."""
        return Pairs(2, per="identity" if self.config.training.one_pair_per_identity else "clip")

    def task(self, runtime: Runtime, stream: ClipStream) -> "FommTask":
        """See Plan."""
        del stream
        return FommTask(self.config, runtime)


class FommTask:
    """See `trainers.task.Task`. Trains generator and detector together, then the discriminator on the generated images."""

    name = "fomm"
    names: Mapping[str, Sequence[str]] = {}

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config: dict[str, Any] = config.to_json()
        self._settings, self._runtime = config.training, runtime
        self._adversarial = config.training.losses.generator_gan > 0
        architecture = config.architecture
        networks = {
            "generator": OcclusionAwareGenerator(architecture),
            "kp_detector": KPDetector(architecture),
            "discriminator": MultiScaleDiscriminator(architecture),
        }
        self.networks: dict[str, nn.Module] = {name: runtime.prepared(network) for name, network in networks.items()}
        broadcast_weights(self.networks.values())
        self.optimizers: dict[str, Optimizer] = {
            f"optimizer_{name}": self._adam(network) for name, network in self.networks.items()
        }
        self.schedulers: dict[str, LRScheduler] = {
            name: MultiStepLR(optimizer, self._settings.milestones, self._settings.decay)
            for name, optimizer in self.optimizers.items()
            if name != "optimizer_discriminator" or self._adversarial
        }
        called = {name: torch.compile(network) if runtime.compiled else network for name, network in self.networks.items()}
        self._generator, self._detector = called["generator"], called["kp_detector"]
        # Not trained without an adversarial loss, but in checkpoints with its optimizer, as in those of the published code.
        self._discriminator = self.networks["discriminator"].requires_grad_(self._adversarial)
        self._generator_loss = GeneratorLoss(config, vgg.load(runtime.vgg)).to(runtime.device)
        self._discriminator_loss = DiscriminatorLoss(config).to(runtime.device)
        self._shown: tuple[Tensor, Tensor, GeneratorResult] | None = None

    def load_weights(self, content: Mapping[str, Any], path: Path) -> None:
        """See Task."""
        load_networks(content, self.networks, path)

    def step(self, batch: Batch, rng: torch.Generator, number: int) -> dict[str, Tensor]:
        """See Task."""
        del number
        parts = self._parts(batch, rng)
        results = self._train_generator(parts)
        losses = [result.losses for result in results]
        self._shown = (*parts[0][:2], results[0])
        if self._adversarial:
            losses += self._train_discriminator(parts, results)
        names = dict.fromkeys(name for each in losses for name in each)
        return {name: torch.stack([each[name].detach() for each in losses if name in each]).mean() for name in names}

    def images(self) -> dict[str, Tensor] | None:
        """See Task."""
        if self._shown is None:
            return None
        source, driving, result = self._shown
        return step_images(source[:_GRID_ROWS], driving[:_GRID_ROWS], result)

    def end_epoch(self) -> None:
        """See Task."""
        for scheduler in self.schedulers.values():
            scheduler.step()

    def _adam(self, network: nn.Module) -> Adam:
        first, second = self._settings.betas
        return Adam(network.parameters(), self._settings.learning_rate, (first, second))

    def _parts(self, batch: Batch, rng: torch.Generator) -> list[tuple[Tensor, Tensor, Warp]]:
        """Return source, driving image and transform of each part of the batch. All ranks draw for the global batch."""
        settings, world = self._settings, self._runtime.world
        count = len(batch) * world.size
        drawn = Warp.draw(count, rng, settings.sigma_affine, settings.sigma_tps, settings.points_tps)
        transforms = drawn[world.part(count)].to(self._runtime.device)
        form = torch.channels_last if self._runtime.channels_last else torch.contiguous_format
        frames = [batch.frames[:, number].to(self._runtime.device).contiguous(memory_format=form) for number in (0, 1)]
        return [(frames[0][row], frames[1][row], transforms[row]) for row in self._runtime.parts(len(batch))]

    def _train_generator(self, parts: list[tuple[Tensor, Tensor, Warp]]) -> list[GeneratorResult]:
        trained = ("generator", "kp_detector")
        self._discriminator.requires_grad_(False)
        results = []
        for source, driving, transform in parts:
            with self._runtime.autocast():
                result = self._generator_loss(self._detector, self._generator, self._discriminator, source, driving, transform)
            torch.autograd.backward(_sum(result.losses.values()) / len(parts))
            results.append(result)
        self._discriminator.requires_grad_(self._adversarial)
        self._update(trained)
        return results

    def _train_discriminator(
        self, parts: list[tuple[Tensor, Tensor, Warp]], results: list[GeneratorResult]
    ) -> list[dict[str, Tensor]]:
        losses = []
        for (_, driving, _), result in zip(parts, results, strict=True):
            with self._runtime.autocast():
                loss = self._discriminator_loss(
                    self._discriminator, result.generated.prediction, driving, result.driving_keypoints
                )
            torch.autograd.backward(_sum(loss.values()) / len(parts))
            losses.append(loss)
        self._update(("discriminator",))
        return losses

    def _update(self, names: Iterable[str]) -> None:
        for name in names:
            update((self.networks[name],), self.optimizers[f"optimizer_{name}"])


def _sum(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()
