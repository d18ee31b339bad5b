"""Losses of critic and generator (section 4.2 of the paper, and the published code).

Each function returns named, weighted losses of a part of a batch, whose sum over all parts is minimized. Rows without action
units contribute nothing, and divisors are the number of usable rows in the global batch instead of its size. Gradients are
therefore independent of such rows, and of the division into parts and processes.

Shape suffixes: B images of the part, H and W their size.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from motionshards.trainers.ganimation.config import LossWeights
from motionshards.trainers.ganimation.networks import Painting


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a batch.

    real: [B,3,H,W] in [-1, 1]
    condition, desired: [B,17], action units of the images, and target action units
    mix: [B] in [0, 1), weights of the interpolation between real and generated images for the gradient penalty
    usable: [B], 1 for usable rows, else 0; the conditions of others are arbitrary
    count: scalar, number of usable rows in the global batch, over all parts and processes; not 0
    """

    real: Tensor
    condition: Tensor
    desired: Tensor
    mix: Tensor
    usable: Tensor
    count: Tensor

    def rows(self, rows: slice) -> "Part":
        """Return some of the rows as a part of the same batch."""
        names = ("real", "condition", "desired", "mix", "usable")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def total(self, values: Tensor) -> Tensor:
        """Sum values [B] over the usable rows."""
        return (self.usable * values).sum()

    def mean(self, values: Tensor) -> Tensor:
        """Return the contribution of this part to the mean of values [B,...] over the global batch."""
        return self.total(values.flatten(1).mean(dim=1)) / self.count


def critic_losses(weights: LossWeights, critic: nn.Module, part: Part, fake: Tensor) -> dict[str, Tensor]:
    """Return `d_real`, `d_fake` and `d_condition`: scores of real and generated images, and action units of real ones.

    fake: [B,3,H,W], detached output of the generator for the desired action units
    """
    score, found = critic(part.real)
    fake_score, _ = critic(fake)
    return {
        "d_real": -weights.adversarial * part.mean(score),
        "d_fake": weights.adversarial * part.mean(fake_score),
        "d_condition": weights.condition * _condition_error(part, found, part.condition),
    }


def gradient_penalty(weights: LossWeights, critic: nn.Module, part: Part, fake: Tensor) -> Tensor:
    """Penalize critic gradients of norms other than 1 between real and generated images (Gulrajani et al. 2017).

    The gradient of a row is that of the sum of its scores; the norm is over all pixels.
    """
    mix = part.mix[:, None, None, None]
    between = (mix * part.real + (1 - mix) * fake).requires_grad_()
    score, _ = critic(between)
    (gradient,) = torch.autograd.grad(score.sum(), between, create_graph=True)
    length = torch.linalg.vector_norm(gradient.flatten(1), dim=1, keepdim=True)
    return weights.penalty * part.mean((length - 1).square())


def generator_losses(
    weights: LossWeights, generator: Callable[[Tensor, Tensor], Painting], critic: nn.Module, part: Part
) -> dict[str, Tensor]:
    """Return the losses of the generator.

    g_fake, g_condition: the critic's score of the edited image, and its error of the desired action units
    g_cycle: difference of the real image and its restoration from the edited image with its own action units
    g_attention, g_smoothness: mean and total variation of the masks of the edit, with `_back` of the restoration
    """
    there = generator(part.real, part.desired)
    fake = there.over(part.real)
    back = generator(fake, part.condition)
    score, found = critic(fake)
    return {
        "g_fake": -weights.adversarial * part.mean(score),
        "g_condition": weights.condition * _condition_error(part, found, part.desired),
        "g_cycle": weights.cycle * part.mean((back.over(fake) - part.real).abs()),
        "g_attention": weights.attention * part.mean(there.attention),
        "g_attention_back": weights.attention * part.mean(back.attention),
        "g_smoothness": weights.smoothness * part.total(_variation(there.attention)),
        "g_smoothness_back": weights.smoothness * part.total(_variation(back.attention)),
    }


def _condition_error(part: Part, found: Tensor, expected: Tensor) -> Tensor:
    """Mean squared error over rows and action units, divided by the number of rows again as in the published code."""
    return part.mean((found - expected).square()) / part.count


def _variation(attention: Tensor) -> Tensor:
    """Total variation [B] of masks [B,1,H,W]: the sum of absolute differences of vertical and horizontal neighbors."""
    down, right = attention.diff(dim=2), attention.diff(dim=3)
    return down.abs().flatten(1).sum(dim=1) + right.abs().flatten(1).sum(dim=1)
