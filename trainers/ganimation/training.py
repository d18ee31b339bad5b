"""Training of GANimation: requirements on the data, and one step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.stream import ClipStream
from motionshards.dataset.views import Singles
from motionshards.schemas.action_units import MOST
from motionshards.trainers.ganimation.architecture import AUS
from motionshards.trainers.ganimation.config import Config
from motionshards.trainers.ganimation.images import step_images
from motionshards.trainers.ganimation.losses import Part, critic_losses, generator_losses, gradient_penalty
from motionshards.trainers.ganimation.networks import Critic, Generator
from motionshards.trainers.ganimation.restore import ACTION_UNITS, CRITIC, GENERATOR, load_available, refuse_other_action_units
from motionshards.trainers.parallel import broadcast_weights, mean_over_processes, update
from motionshards.trainers.task import Plan, Runtime

_GRID_ROWS = 4


@dataclass(frozen=True, slots=True)
class GanimationPlan(Plan[Config]):
    """The plan of a training of GANimation."""

    @property
    def view(self) -> Singles:
        """See Plan."""
        return Singles()

    def task(self, runtime: Runtime, stream: ClipStream) -> "GanimationTask":
        """See Plan."""
        return GanimationTask(self.config, runtime, stream.aus, len(stream))


class GanimationTask:
    """See `trainers.task.Task`. The critic is trained twice in every step, the generator in every fifth of an epoch.

    Intensities of different programs and modes are on different scales: eleven of those of stills contain a constant of the
    person. Weights are therefore trained on action units of one origin only.

    aus: origin of the dataset's action units, as in `--aus`
    steps: steps per epoch
    """

    name = "ganimation"

    def __init__(self, config: Config, runtime: Runtime, aus: str, steps: int) -> None:
        self.names: Mapping[str, Sequence[str]] = {ACTION_UNITS: (aus,)}
        self.config: dict[str, Any] = config.to_json()
        self._settings, self._runtime, self._steps = config.training, runtime, steps
        networks = {GENERATOR: Generator(config.architecture), CRITIC: Critic(config.architecture)}
        self.networks: dict[str, nn.Module] = {name: runtime.prepared(network) for name, network in networks.items()}
        broadcast_weights(self.networks.values())
        self.optimizers: dict[str, Optimizer] = {f"optimizer_{name}": self._adam(net) for name, net in self.networks.items()}
        self.schedulers: dict[str, LRScheduler] = {
            name: LambdaLR(optimizer, self._settings.learning_rate_factor) for name, optimizer in self.optimizers.items()
        }
        generator = self.networks[GENERATOR]
        self._generator = torch.compile(generator) if runtime.compiled else generator
        # Never compiled: its penalty needs double backward, which torch.compile does not support.
        self._critic = self.networks[CRITIC]
        self._shown: Part | None = None

    def load_weights(self, content: Mapping[str, Any], path: Path) -> None:
        """See Task. Raises ConfigError: the weights do not fit, or were trained on action units of another origin."""
        refuse_other_action_units(content, path, self.names[ACTION_UNITS])
        load_available(content, path, self.networks)

    def step(self, batch: Batch, rng: torch.Generator, number: int) -> dict[str, Tensor]:
        """See Task. `skipped` is the number of images without action units or target action units."""
        batch_part = self._part(batch, rng)
        skipped = len(batch) * self._runtime.world.size - batch_part.count
        # All processes agree on the count, which synchronizes with the GPU. With zero gradients the momentum of Adam would still
        # change the weights.
        if not batch_part.count:
            return {"skipped": skipped}
        parts = [batch_part.rows(rows) for rows in self._runtime.parts(len(batch))]
        losses = self._train_critic(parts)
        if self._trains_generator(number):
            losses |= self._train_generator(parts)
        self._shown = parts[0]
        return losses | {"skipped": skipped}

    def images(self) -> dict[str, Tensor] | None:
        """See Task."""
        if self._shown is None:
            return None
        with self._runtime.autocast():
            return step_images(self.networks[GENERATOR], self._shown, _GRID_ROWS)

    def end_epoch(self) -> None:
        """See Task."""
        for scheduler in self.schedulers.values():
            scheduler.step()

    def _trains_generator(self, number: int) -> bool:
        """Count steps within the epoch, as published. Epochs of fewer than `generator_every` steps train it in their last."""
        return (number % self._steps + 1) % min(self._settings.generator_every, self._steps) == 0

    def _adam(self, network: nn.Module) -> Adam:
        first, second = self._settings.betas
        return Adam(network.parameters(), self._settings.learning_rate, (first, second))

    def _part(self, batch: Batch, rng: torch.Generator) -> Part:
        """Return the rows of this process. All processes draw for the global batch, so draws are independent of their number."""
        assert batch.aus is not None and batch.target_aus is not None
        world, device = self._runtime.world, self._runtime.device
        count = len(batch) * world.size
        drawn = torch.rand(count, AUS + 1, generator=rng)[world.part(count)].to(device)
        condition, desired = batch.aus[:, 0].to(device) / MOST, batch.target_aus.to(device) / MOST
        usable = (condition.isfinite() & desired.isfinite()).all(dim=1).float()
        form = torch.channels_last if self._runtime.channels_last else torch.contiguous_format
        return Part(
            real=(2 * batch.frames[:, 0].to(device) - 1).contiguous(memory_format=form),
            condition=condition.nan_to_num(),
            desired=desired.nan_to_num() + self._settings.noise * (2 * drawn[:, :AUS] - 1),
            mix=drawn[:, AUS],
            usable=usable,
            count=(mean_over_processes(usable.sum()) * world.size).round(),
        )

    def _train_critic(self, parts: list[Part]) -> dict[str, Tensor]:
        """Take two optimizer steps: on the losses, and then on the gradient penalty with the updated weights, as published."""
        weights, fakes = self._settings.losses, [self._fake(part) for part in parts]

        def scores(number: int) -> dict[str, Tensor]:
            with self._runtime.autocast():
                return critic_losses(weights, self._critic, parts[number], fakes[number])

        def penalty(number: int) -> dict[str, Tensor]:
            # Without autocast: in bf16 the rounding error of double backward is larger than the penalty.
            return {"d_penalty": gradient_penalty(weights, self._critic, parts[number], fakes[number])}

        return self._train(CRITIC, scores, len(parts)) | self._train(CRITIC, penalty, len(parts))

    def _train_generator(self, parts: list[Part]) -> dict[str, Tensor]:
        def losses_of(number: int) -> dict[str, Tensor]:
            with self._runtime.autocast():
                return generator_losses(self._settings.losses, self._generator, self._critic, parts[number])

        self._critic.requires_grad_(False)
        losses = self._train(GENERATOR, losses_of, len(parts))
        self._critic.requires_grad_(True)
        return losses

    @torch.no_grad()
    def _fake(self, part: Part) -> Tensor:
        with self._runtime.autocast():
            fake: Tensor = self._generator(part.real, part.desired).over(part.real)
        return fake

    def _train(self, name: str, losses_of: Callable[[int], dict[str, Tensor]], parts: int) -> dict[str, Tensor]:
        """Step a network on the sum of its losses over parts and processes. Returns losses whose mean over processes is that
        sum.
        """
        found = []
        for place in range(parts):
            # Times the number of processes, since gradients and logged losses are averaged over them.
            losses = {kind: self._runtime.world.size * loss for kind, loss in losses_of(place).items()}
            torch.autograd.backward(_sum(losses.values()))
            found.append({kind: loss.detach() for kind, loss in losses.items()})
        update((self.networks[name],), self.optimizers[f"optimizer_{name}"])
        return {kind: _sum(losses[kind] for losses in found) for kind in found[0]}


def _sum(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()
