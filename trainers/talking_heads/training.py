"""Training of talking heads: requirements on the data, and one step."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.stream import ClipStream
from motionshards.dataset.views import KPlusOne
from motionshards.trainers import vgg
from motionshards.trainers.checkpoint import load_networks
from motionshards.trainers.parallel import broadcast_weights, update
from motionshards.trainers.talking_heads.config import Config, without_vgg
from motionshards.trainers.talking_heads.discriminator import Discriminator
from motionshards.trainers.talking_heads.embedder import Embedder, averaged
from motionshards.trainers.talking_heads.episodes import Episodes, episodes
from motionshards.trainers.talking_heads.generator import Generator
from motionshards.trainers.talking_heads.losses import VGG19_TAPS, VGGFACE_TAPS, ImageLoss, hinge_loss, match_loss
from motionshards.trainers.talking_heads.videos import VIDEOS, fitted, known_videos, videos_of
from motionshards.trainers.task import Plan, Runtime

logger = logging.getLogger("motionshards")

_GRID_ROWS = 4


@dataclass(frozen=True, slots=True)
class TalkingHeadsPlan(Plan[Config]):
    """The plan of a training of talking heads."""

    @property
    def view(self) -> KPlusOne:
        """See Plan."""
        return KPlusOne(self.config.training.frames, landmarks=True)

    def task(self, runtime: Runtime, stream: ClipStream) -> "TalkingHeadsTask":
        """See Plan. Raises ConfigError also if no clip has landmarks."""
        return TalkingHeadsTask(_effective(self.config, runtime), runtime, videos_of(stream))


@dataclass(frozen=True, kw_only=True, eq=False)
class Rendered:
    """Losses and outputs of the generator step on some episodes."""

    losses: dict[str, Tensor]
    images: Tensor
    """[B,3,H,W], detached."""
    embeddings: Tensor
    """[B,C], detached."""


class TalkingHeadsTask:
    """See `trainers.task.Task`. Trains embedder and generator together, then the discriminator on the generated images."""

    name = "talking_heads"
    schedulers: Mapping[str, LRScheduler] = {}

    def __init__(self, config: Config, runtime: Runtime, videos: Sequence[str]) -> None:
        self.config: dict[str, Any] = config.to_json()
        self.names = {VIDEOS: videos}
        self._settings, self._runtime, self._renders_again = config.training, runtime, config.architecture.compat
        self._numbers = {name: number for number, name in enumerate(videos)}
        shape = config.architecture
        networks = {"E": Embedder(shape), "G": Generator(shape), "D": Discriminator(shape, len(videos))}
        self.networks: dict[str, nn.Module] = {f"{name}_state_dict": runtime.prepared(net) for name, net in networks.items()}
        embedder, generator, self._discriminator = self.networks.values()
        broadcast_weights(self.networks.values())
        self.optimizers: dict[str, Optimizer] = {
            "optimizerG": self._adam((embedder, generator), self._settings.learning_rate),
            "optimizerD": self._adam((self._discriminator,), self._settings.discriminator_learning_rate),
        }
        self._generator_networks = (embedder, generator)
        self._embedder, self._generator = (torch.compile(net) if runtime.compiled else net for net in self._generator_networks)
        self._loss = image_loss(config, runtime.vgg, runtime.vggface).to(runtime.device)
        self._shown: tuple[Episodes, Tensor] | None = None

    def load_weights(self, content: Mapping[str, Any], path: Path) -> None:
        """See Task. Vectors of videos in both are kept; those of the authors' checkpoints if their number is equal."""
        own, name = self._discriminator.state_dict()["W"], "D_state_dict"
        state = fitted(content.get(name), own, self.names[VIDEOS], known_videos(content))
        load_networks({**content, name: state} if name in content else content, self.networks, path)

    def step(self, batch: Batch, rng: torch.Generator, number: int) -> dict[str, Tensor]:
        """See Task. Uses no randomness. `without_face` is the share of episodes that do not count."""
        del rng, number
        batch_episodes = episodes(batch.to(self._runtime.device), self._numbers)
        parts = [batch_episodes[rows] for rows in self._runtime.parts(len(batch))]
        rendered = self._train_generator(parts)
        self._shown = parts[0], rendered[0].images
        losses = [each.losses for each in rendered]
        for step in range(self._settings.discriminator_steps):
            if step and self._renders_again:
                rendered = self._render_again(parts, rendered)
            losses += self._train_discriminator(parts, rendered, matching=step == 0)
        losses.append({"without_face": 1 - batch_episodes.targets.counts.mean()})
        names = dict.fromkeys(name for each in losses for name in each)
        return {name: torch.stack([each[name].detach() for each in losses if name in each]).mean() for name in names}

    def images(self) -> dict[str, Tensor] | None:
        """See Task: one of the K frames of each video, landmarks, prediction, real frame."""
        if self._shown is None:
            return None
        part, rendered = self._shown
        columns = {
            "source": part.frames[:, 0],
            "landmarks": part.targets.landmarks,
            "prediction": rendered,
            "real frame": part.targets.frames,
        }
        return {label: images[:_GRID_ROWS] for label, images in columns.items()}

    def end_epoch(self) -> None:
        """See Task. Learning rates are constant."""

    def _adam(self, networks: Sequence[nn.Module], rate: float) -> Adam:
        first, second = self._settings.betas
        return Adam([parameter for network in networks for parameter in network.parameters()], rate, (first, second))

    def _train_generator(self, parts: list[Episodes]) -> list[Rendered]:
        self._discriminator.requires_grad_(False)
        results = []
        for part in parts:
            with self._runtime.autocast():
                result = self._render(part)
            torch.autograd.backward(torch.stack([*result.losses.values()]).sum() / len(parts))
            results.append(Rendered(losses=result.losses, images=result.images.detach(), embeddings=result.embeddings.detach()))
        self._discriminator.requires_grad_(True)
        update(self._generator_networks, self.optimizers["optimizerG"])
        return results

    def _render(self, part: Episodes) -> Rendered:
        """Compute the generator's losses on some episodes."""
        each = self._embedder(part.frames.flatten(0, 1), part.landmarks.flatten(0, 1))
        embeddings = averaged(each.view(*part.faces.shape, -1), part.faces)
        images = self._generator(part.targets.landmarks, embeddings)
        losses = self._loss(self._discriminator, images, part.targets) | self._matched(part, embeddings)
        return Rendered(losses=losses, images=images, embeddings=embeddings)

    @torch.no_grad()
    def _render_again(self, parts: list[Episodes], rendered: list[Rendered]) -> list[Rendered]:
        """Render the same episodes with the updated generator, from the embeddings computed before its step."""
        with self._runtime.autocast():
            images = [
                self._generator(part.targets.landmarks, each.embeddings) for part, each in zip(parts, rendered, strict=True)
            ]
        return [replace(each, images=image) for each, image in zip(rendered, images, strict=True)]

    def _matched(self, part: Episodes, embeddings: Tensor) -> dict[str, Tensor]:
        weight = self._settings.losses.match
        assert isinstance(self._discriminator, Discriminator)
        if weight == 0:
            return {}
        return {"match": match_loss(weight, self._discriminator.of_videos(part.targets.video), embeddings, part.targets)}

    def _train_discriminator(self, parts: list[Episodes], rendered: list[Rendered], *, matching: bool) -> list[dict[str, Tensor]]:
        """Take a discriminator step.

        matching: also minimize the match loss, which moves its vectors to the embeddings; as published, in the first step only
        """
        losses = []
        for part, result in zip(parts, rendered, strict=True):
            with self._runtime.autocast():
                loss = hinge_loss(self._discriminator, result.images, part.targets)
                matched = self._matched(part, result.embeddings) if matching else {}
            torch.autograd.backward(torch.stack([loss, *matched.values()]).sum() / len(parts))
            losses.append({"discriminator": loss})
        update((self._discriminator,), self.optimizers["optimizerD"])
        return losses


def _effective(config: Config, runtime: Runtime) -> Config:
    """Return `config`, or `without_vgg(config)` if no VGG network is used."""
    losses = config.training.losses
    used = (losses.vgg19 > 0 and runtime.vgg != vgg.NONE) or (losses.vggface > 0 and runtime.vggface != vgg.NONE)
    effective = config if used else without_vgg(config)
    if effective != config:
        logger.warning(
            "without VGG networks losses.match is %g instead of the published %g, at which embeddings collapse to 0",
            effective.training.losses.match,
            losses.match,
        )
    return effective


def image_loss(config: Config, vgg19: str | None, vggface: str | None) -> ImageLoss:
    """Build the loss of generated images, with the weights of `--vgg` and `--vggface`. Raises ConfigError as `vgg.load`."""
    weights, of_faces = config.training.losses, vgg.VGGFACE
    if config.architecture.compat:
        of_faces = replace(of_faces, mean=vgg.VGG19.mean, std=vgg.VGG19.std)
    return ImageLoss(
        weights,
        vgg.load(vgg19, vgg.VGG19, VGG19_TAPS) if weights.vgg19 > 0 else None,
        vgg.load(vggface, of_faces, VGGFACE_TAPS) if weights.vggface > 0 else None,
    )
