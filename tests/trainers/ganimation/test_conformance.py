"""GANimation at full width compared with values computed by the published code."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conformance import assert_like, figures, fill, image, rng
from torch import Tensor

from motionshards.trainers.ganimation.architecture import Architecture
from motionshards.trainers.ganimation.config import Config
from motionshards.trainers.ganimation.losses import Part, critic_losses, generator_losses, gradient_penalty
from motionshards.trainers.ganimation.networks import Critic, Generator, Painting
from motionshards.trainers.parallel import update

FIGURES = figures("ganimation")
TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-4}
GENERATOR_TERMS = {
    "g_fake": "masked_fake",
    "g_condition": "masked_cond",
    "g_cycle": "cyc",
    "g_attention": "mask_1",
    "g_attention_back": "mask_2",
    "g_smoothness": "mask_1_smooth",
    "g_smoothness_back": "mask_2_smooth",
}


class Computed(NamedTuple):
    """Outputs and losses in order: before training, in both critic steps, and in the generator step."""

    tolerance: float
    painting: Painting
    score: Tensor
    aus: Tensor
    critic: dict[str, Tensor]
    penalty: Tensor
    generator: dict[str, Tensor]


def published_part(dtype: torch.dtype) -> Part:
    return Part(
        real=(image("gan-img", 2, 3, 128, 32) * 2 - 1).to(dtype),
        condition=torch.from_numpy(rng("gan-rc").random((2, 17))).to(dtype),
        desired=torch.from_numpy(rng("gan-dc").random((2, 17))).to(dtype),
        mix=torch.from_numpy(rng("gan-alpha").random((2, 1, 1, 1))).flatten().to(dtype),
        usable=torch.ones(2, dtype=dtype),
        count=torch.tensor(2.0, dtype=dtype),
    )


@pytest.fixture(
    scope="module",
    params=[torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)],
    ids=str,
)
def computed(request: pytest.FixtureRequest) -> Computed:
    dtype, training = request.param, Config().training
    with torch.device("meta"):  # skips the initialization, which takes seconds
        generator, critic = Generator(Architecture()), Critic(Architecture())
    generator.to_empty(device="cpu")
    critic.to_empty(device="cpu")
    fill(generator, "GAN_G").to(dtype)
    fill(critic, "GAN_D").to(dtype)
    # Fused Adam differs in the last bit only, and takes a fraction of the time.
    adam = torch.optim.Adam(critic.parameters(), training.learning_rate, training.betas, fused=True)
    part, weights = published_part(dtype), training.losses
    with torch.no_grad():
        painting, (score, aus) = generator(part.real, part.desired), critic(part.real)
    fake = painting.over(part.real)

    def step(losses: dict[str, Tensor]) -> None:
        torch.stack([*losses.values()]).sum().backward()
        update((critic,), adam)

    judged = critic_losses(weights, critic, part, fake)
    step(judged)
    penalty = gradient_penalty(weights, critic, part, fake)
    step({"d_penalty": penalty})

    def painting_once(image: Tensor, condition: Tensor) -> Painting:
        """Reuse the output for the real image, since the generator has not changed."""
        return painting if image is part.real else generator(image, condition)

    with torch.no_grad():
        painted = generator_losses(weights, painting_once, critic, part)
    return Computed(TOLERANCES[dtype], painting, score, aus, judged, penalty, painted)


def assert_same(found: Any, expected: Any, tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=tolerance, atol=tolerance)


def test_outputs_of_the_generator(computed: Computed) -> None:
    assert_like(computed.painting.color, FIGURES["img"], computed.tolerance)
    assert_like(computed.painting.attention, FIGURES["mask"], computed.tolerance)


def test_outputs_of_the_critic(computed: Computed) -> None:
    assert_same(computed.score, FIGURES["prob"], computed.tolerance)
    assert_same(computed.aus, FIGURES["aux"], computed.tolerance)


def test_the_critics_losses(computed: Computed) -> None:
    found = {name.removeprefix("d_").replace("condition", "cond"): loss.item() for name, loss in computed.critic.items()}
    assert found == pytest.approx(FIGURES["d"], rel=computed.tolerance)


def test_the_penalty_after_the_critics_first_step(computed: Computed) -> None:
    assert computed.penalty.item() == pytest.approx(FIGURES["gp_after_first_D_step"], rel=computed.tolerance)


def test_the_generators_losses_after_both_steps(computed: Computed) -> None:
    found = {GENERATOR_TERMS[name]: loss.item() for name, loss in computed.generator.items()}
    assert found == pytest.approx(FIGURES["g_after_two_D_steps"], rel=computed.tolerance)
