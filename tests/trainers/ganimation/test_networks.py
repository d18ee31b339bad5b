"""Names, sizes and behavior of the networks, and settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motionshards.schemas.errors import ConfigError
from motionshards.trainers import settings
from motionshards.trainers.ganimation.architecture import Architecture
from motionshards.trainers.ganimation.config import CONFIGS, Config, LossWeights, TrainingConfig
from motionshards.trainers.ganimation.losses import Part, critic_losses, generator_losses, gradient_penalty
from motionshards.trainers.ganimation.networks import Critic, Generator, Painting


def noise(*shape: int, seed: int = 0) -> Tensor:
    """float64, 0 to 1."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def part(rows: int = 3, usable: tuple[int, ...] = (1, 1, 1), size: int = 16) -> Part:
    return Part(
        real=2 * noise(rows, 3, size, size) - 1,
        condition=noise(rows, 17, seed=1),
        desired=noise(rows, 17, seed=2),
        mix=noise(rows, seed=3),
        usable=torch.tensor(usable, dtype=torch.float64),
        count=torch.tensor(float(sum(usable)), dtype=torch.float64),
    )


def networks(size: int = 16, width: int = 4) -> tuple[Generator, Critic]:
    """float64, with weights large enough for all terms to be significant."""
    torch.manual_seed(0)
    shape = Architecture(size=size, width=width, residuals=1)
    generator, critic = Generator(shape).double(), Critic(shape).double()
    with torch.no_grad():
        for parameter in [*generator.parameters(), *critic.parameters()]:
            parameter.mul_(4)
    return generator, critic


def on_meta(kind: type[nn.Module], shape: Architecture) -> nn.Module:
    """A network on the meta device, for names and shapes."""
    with torch.device("meta"):
        return kind(shape)


def counts(network: nn.Module) -> tuple[int, int]:
    return sum(p.numel() for p in network.parameters()), len(network.state_dict())


def test_the_published_sizes_and_names() -> None:
    generator, critic = on_meta(Generator, Architecture()), on_meta(Critic, Architecture())
    assert counts(generator) == (8_471_296, 53) and counts(critic) == (44_860_352, 14)
    shapes = {name: list(tensor.shape) for name, tensor in {**generator.state_dict()}.items()}
    assert shapes["main.0.weight"] == [64, 20, 7, 7] and shapes["main.14.main.4.weight"] == [256]
    assert shapes["main.15.weight"] == [256, 128, 4, 4] and shapes["main.19.bias"] == [64]
    assert shapes["img_reg.0.weight"] == [3, 64, 7, 7] and shapes["attetion_reg.0.weight"] == [1, 64, 7, 7]
    shapes = {name: list(tensor.shape) for name, tensor in critic.state_dict().items()}
    assert shapes["main.10.weight"] == [2048, 1024, 4, 4] and shapes["main.10.bias"] == [2048]
    assert shapes["conv1.weight"] == [1, 2048, 3, 3] and shapes["conv2.weight"] == [17, 2048, 2, 2]


@pytest.mark.parametrize(("size", "halvings", "left"), [(8, 2, 2), (64, 5, 2), (96, 5, 3), (128, 6, 2), (256, 6, 4)])
def test_the_critic_depends_on_the_image_size(size: int, halvings: int, left: int) -> None:
    shape = Architecture(size=size, width=1)
    assert (shape.halvings, shape.last_px) == (halvings, left)
    score, aus = Critic(shape)(torch.zeros(1, 3, size, size))
    assert (score.shape, aus.shape) == ((1, left, left), (1, 17))


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("size", [8, 64])
def test_shapes_and_ranges_of_outputs(rows: int, size: int) -> None:
    shape = Architecture(size=size, width=2, residuals=1)
    image, condition = noise(rows, 3, size, size).float(), noise(rows, 17).float()
    painting = Generator(shape)(image, condition)
    assert painting.color.shape == painting.over(image).shape == image.shape and painting.attention.shape == (rows, 1, size, size)
    assert painting.color.abs().max() <= 1 and painting.attention.min() >= 0 and painting.attention.max() <= 1


def test_attention_blends_image_and_color() -> None:
    image, color = noise(1, 3, 4, 4), noise(1, 3, 4, 4, seed=1)
    assert Painting(color, torch.ones(1, 1, 4, 4)).over(image).equal(image)
    assert Painting(color, torch.zeros(1, 1, 4, 4)).over(image).equal(color)


def test_images_of_a_batch_are_independent() -> None:
    """Neither norms nor losses depend on other rows, as masking of rows requires."""
    generator, critic = networks()
    whole = part()
    alone = generator(whole.real[1:2], whole.desired[1:2])
    torch.testing.assert_close(generator(whole.real, whole.desired).color[1:2], alone.color)
    torch.testing.assert_close(critic(whole.real)[1][1:2], critic(whole.real[1:2])[1])


def test_paintings_are_float32_under_autocast() -> None:
    generator, critic = (network.float() for network in networks())
    with torch.autocast("cpu", torch.bfloat16):
        painting = generator(part().real.float(), part().desired.float())
        score, aus = critic(painting.color)
    assert {tensor.dtype for tensor in (painting.color, painting.attention, score, aus)} == {torch.float32}


def all_losses(one: Part) -> dict[str, Tensor]:
    generator, critic = networks()
    weights = LossWeights(smoothness=1.0)
    fake = generator(one.real, one.desired).over(one.real).detach()
    penalty = {"d_penalty": gradient_penalty(weights, critic, one, fake)}
    return critic_losses(weights, critic, one, fake) | penalty | generator_losses(weights, generator, critic, one)


def test_unusable_rows_have_no_effect() -> None:
    whole, few = part(usable=(1, 0, 1)), part()
    kept = [0, 2]
    few = Part(few.real[kept], few.condition[kept], few.desired[kept], few.mix[kept], torch.ones(2), torch.tensor(2.0))
    torch.testing.assert_close(all_losses(whole), all_losses(few), rtol=1e-12, atol=1e-12)


def test_losses_of_parts_add_up_to_those_of_the_batch() -> None:
    whole = part(usable=(1, 0, 1))
    first, second = (all_losses(whole.rows(rows)) for rows in (slice(0, 1), slice(1, 3)))
    torch.testing.assert_close({name: first[name] + second[name] for name in first}, all_losses(whole), rtol=1e-12, atol=1e-12)


def test_a_critic_without_a_gradient_has_a_penalty_with_one() -> None:
    """The norm is 0, where the square root has no derivative; the penalty is then its weight."""
    critic = networks()[1]
    with torch.no_grad():
        for parameter in critic.main.parameters():
            parameter.zero_()
    penalty = gradient_penalty(LossWeights(), critic, part(), part().real)
    penalty.backward()
    assert penalty.item() == pytest.approx(10)
    assert all(p.grad is None or p.grad.isfinite().all() for p in critic.parameters())


def test_the_learning_rate_decays_in_the_last_third() -> None:
    factors = [TrainingConfig().learning_rate_factor(epoch) for epoch in range(30)]
    assert factors[:21] == [1.0] * 21
    assert factors[21:] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    few = TrainingConfig(epochs=4)
    assert [few.learning_rate_factor(epoch) for epoch in range(4)] == [1, 0.75, 0.5, 0.25]
    assert TrainingConfig(decay_epochs=0).learning_rate_factor(29) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 100}, "size must be a multiple of 32"),
        ({"size": 4}, "size must be at least 8"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_invalid_architectures(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "at least 1"),
        ({"betas": (0.5,)}, "betas must be two"),
        ({"noise": -0.1}, "not be negative"),
        ({"flip": 2.0}, "probabilities"),
    ],
)
def test_invalid_trainings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**change)


def test_weights_are_not_negative() -> None:
    with pytest.raises(ValueError, match="weights must not be negative"):
        LossWeights(cycle=-1)


def test_settings_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("architecture: {size: 64}\ntraining: {losses: {cycle: 5}}\n")
    found = settings.load(str(path), CONFIGS)
    assert (found.name, found.architecture.size, found.training.losses.cycle) == ("mine", 64, 5)
    assert found.training.losses == replace(LossWeights(), cycle=5.0)
    assert settings.load("ganimation-128", CONFIGS) is CONFIGS["ganimation-128"]
    assert Config.from_json(found.to_json()) == found
    path.write_text("architecture: {sice: 64}\n")
    with pytest.raises(ConfigError, match=r"sice is not a setting; did you mean size"):
        settings.load(str(path), CONFIGS)
