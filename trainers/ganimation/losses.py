"""What critic and generator are trained on (section 4.2 of the paper, and the published code).

Each function gives named losses of a part of a step's batch, which carry their weights; what is trained on is their sum over
all parts. Rows without action units count for nothing, and what is divided by the size of the batch is divided by the number
of the rows that count in the whole of it: so neither such rows, nor parts, nor processes change what is learned.

Shape suffixes: B pictures of the part, H and W their size.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from motionshards.trainers.ganimation.config import LossWeights
from motionshards.trainers.ganimation.networks import Painting


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a step's batch.

    real: [B,3,H,W] in [-1, 1]
    condition, desired: [B,17], action units that the pictures show, and those that they are to show
    mix: [B] in [0, 1), where between the real and the made picture the critic's gradient is looked at
    usable: [B], 1 for rows that count, 0 for others, whose conditions may be any numbers
    count: scalar, how many rows of the whole batch count, over all parts and processes; not 0
    """

    real: Tensor
    condition: Tensor
    desired: Tensor
    mix: Tensor
    usable: Tensor
    count: Tensor

    def rows(self, rows: slice) -> "Part":
        """Some of its rows, as another part of the same batch."""
        names = ("real", "condition", "desired", "mix", "usable")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def total(self, values: Tensor) -> Tensor:
        """The sum of what rows [B] have, over those that count."""
        return (self.usable * values).sum()

    def mean(self, values: Tensor) -> Tensor:
        """This part's share of the mean of values [B,...] over the whole batch."""
        return self.total(values.flatten(1).mean(dim=1)) / self.count


def critic_losses(weights: LossWeights, critic: nn.Module, part: Part, fake: Tensor) -> dict[str, Tensor]:
    """`d_real`, `d_fake` and `d_condition`: scores of real pictures up, of made ones down, and real action units read off.

    fake: [B,3,H,W], what the generator made of the real pictures for the desired action units, without its graph
    """
    score, found = critic(part.real)
    fake_score, _ = critic(fake)
    return {
        "d_real": -weights.adversarial * part.mean(score),
        "d_fake": weights.adversarial * part.mean(fake_score),
        "d_condition": weights.condition * _condition_error(part, found, part.condition),
    }


def gradient_penalty(weights: LossWeights, critic: nn.Module, part: Part, fake: Tensor) -> Tensor:
    """How far the critic's gradients between real and made pictures are from length 1 (Gulrajani et al. 2017).

    A row's gradient is that of the sum of its scores, and its length that over all its pixels.
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
    """What the generator is trained on.

    `g_fake` and `g_condition`: the critic is to take the made picture for a real one with the desired action units. `g_cycle`:
    made to show its first action units again, it is to be the real one. `g_attention`, `g_smoothness`: of the masks of both
    ways, which are to leave much to the colours and to be smooth; each the first way and, with `_back`, the way back.
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


def _condition_error(part: Part, found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error over rows and action units, divided by the number of rows once more as in the published code."""
    return part.mean((found - wanted).square()) / part.count


def _variation(attention: Tensor) -> Tensor:
    """[B], the sum of absolute differences between neighbours of masks [B,1,H,W], over rows and over columns."""
    down, right = attention.diff(dim=2), attention.diff(dim=3)
    return down.abs().flatten(1).sum(dim=1) + right.abs().flatten(1).sum(dim=1)
