"""Fine-tuning to a person with T frames (section 3.3 of the paper).

The generator's style and the discriminator's vector are initialized with the embedding of these frames and become parameters. The
losses are those of training without the match loss.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Adam

from motionshards.trainers import settings
from motionshards.trainers.checkpoint import restored, stored_config
from motionshards.trainers.parallel import update
from motionshards.trainers.talking_heads.config import CONFIGS, Config, TrainingConfig
from motionshards.trainers.talking_heads.discriminator import Discriminator
from motionshards.trainers.talking_heads.embedder import Embedder
from motionshards.trainers.talking_heads.episodes import Targets
from motionshards.trainers.talking_heads.generator import Generator
from motionshards.trainers.talking_heads.losses import ImageLoss, hinge_loss
from motionshards.trainers.talking_heads.person import Person
from motionshards.trainers.weights import networks_of, plain_state
from motionshards.transforms.weight_file import read


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """The networks of a training checkpoint, on a device.

    discriminator: a discriminator of one video, whose vector is not set yet
    """

    config: Config
    embedder: Embedder
    generator: Generator
    discriminator: Discriminator


def restore(path: Path, choice: str | None, device: torch.device) -> Trained:
    """Load the networks of a checkpoint, our own or the authors'.

    choice: name or YAML file of a config, which the authors' checkpoints require; None for the config stored in the checkpoint

    Raises:
        ConfigError: the checkpoint cannot be read, is of another model or architecture, or has no config and `choice` is None
    """
    content = read(path)
    config = settings.load(choice, CONFIGS) if choice is not None else stored_config(content, path, "talking_heads", Config)
    shape = config.architecture
    content = networks_of(content, dict.fromkeys(("E_state_dict", "G_state_dict", "D_state_dict")))
    state = plain_state(content.get("D_state_dict"))
    if isinstance(state, Mapping):
        content = {**content, "D_state_dict": {**state, "W": torch.zeros(shape.embedding, 1)}}
    embedder = restored(content, lambda: {"E_state_dict": Embedder(shape)}, path)["E_state_dict"]
    generator = restored(content, lambda: {"G_state_dict": Generator(shape)}, path)["G_state_dict"]
    discriminator = restored(content, lambda: {"D_state_dict": Discriminator(shape, videos=1)}, path)["D_state_dict"]
    return Trained(
        config=config, embedder=embedder.to(device), generator=generator.to(device), discriminator=discriminator.to(device)
    )


@torch.no_grad()
def create_person(trained: Trained, targets: Targets) -> Person:
    """Create the person of some frames without fine-tuning, and set the discriminator's vector to their mean embedding.

    The person takes ownership of the generator.
    """
    trained.embedder.eval()
    embedding = trained.embedder(targets.frames, targets.landmarks).mean(dim=0, keepdim=True)
    trained.discriminator.W.copy_(embedding.T)
    return Person(trained.generator, trained.generator.style(embedding))


def finetune(
    person: Person,
    discriminator: Discriminator,
    targets: Targets,
    loss: ImageLoss,
    training: TrainingConfig,
    *,
    steps: int,
    batch: int,
    seed: int,
) -> Iterator[dict[str, float]]:
    """Train both on a person's frames, and yield the losses of each step. Frames are drawn without replacement per epoch."""
    rng = torch.Generator().manual_seed(seed)
    first, second = training.betas
    generator_optimizer = Adam(person.parameters(), training.learning_rate, (first, second))
    # The paper has one vector, W + w_0, so only one of the two is trained.
    trained = [parameter for name, parameter in discriminator.named_parameters() if name != "w_0"]
    discriminator_optimizer = Adam(trained, training.discriminator_learning_rate, (first, second))
    rows = _rows(len(targets.frames), batch, rng)
    person.train()
    discriminator.train()
    for _ in range(steps):
        part = targets[next(rows).to(targets.frames.device)]
        losses, rendered = _train_generator(person, discriminator, part, loss, generator_optimizer)
        for _ in range(training.discriminator_steps):
            losses["discriminator"] = _train_discriminator(discriminator, rendered, part, discriminator_optimizer)
        yield {name: value.item() for name, value in losses.items()}
    person.eval()


def _train_generator(
    person: Person, discriminator: Discriminator, part: Targets, loss: ImageLoss, optimizer: Adam
) -> tuple[dict[str, Tensor], Tensor]:
    discriminator.requires_grad_(False)
    rendered = person(part.landmarks)
    losses = loss(discriminator, rendered, part)
    torch.autograd.backward(torch.stack([*losses.values()]).sum())
    update((person,), optimizer)
    return {name: value.detach() for name, value in losses.items()}, rendered.detach()


def _train_discriminator(discriminator: Discriminator, rendered: Tensor, part: Targets, optimizer: Adam) -> Tensor:
    discriminator.requires_grad_(True)
    discriminator.w_0.requires_grad_(False)
    value = hinge_loss(discriminator, rendered, part)
    torch.autograd.backward(value)
    update((discriminator,), optimizer)
    return value.detach()


def _rows(count: int, batch: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Yield the numbers of the frames of each step, int64 [at most batch]."""
    while True:
        shuffled = torch.randperm(count, generator=rng)
        yield from torch.split(shuffled, batch)
