"""The losses (section 3.2 of the paper).

Losses are weighted, and their sum is minimized. Rows that do not count contribute 0 but are included in the divisor, so that
parts of a batch and processes have equal weights. Sums are float32 or finer.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from motionshards.trainers.talking_heads.config import LossWeights
from motionshards.trainers.talking_heads.discriminator import Verdict
from motionshards.trainers.talking_heads.episodes import Goals
from motionshards.trainers.vgg import Vgg

VGG19_TAPS = (1, 6, 11, 20, 29)
VGGFACE_TAPS = (1, 6, 11, 18, 25)


class ImageLoss(nn.Module):
    """Content, adversarial and feature matching losses of generated images.

    vgg19, vggface: networks with the taps above, or None to disable a loss. Without both, the mean absolute difference of pixels
        is used, since nothing else compares images with their targets; results are then blurred.
    """

    def __init__(self, weights: LossWeights, vgg19: Vgg | None, vggface: Vgg | None) -> None:
        super().__init__()
        self.weights, self.vgg19, self.vggface = weights, vgg19, vggface

    def forward(self, discriminator: nn.Module, painted: Tensor, goals: Goals) -> dict[str, Tensor]:
        """Return the scalar losses `vgg19`, `vggface` or `pixel`, `adversarial` and `feature_matching` of images [B,3,H,W].

        Disable gradients of the discriminator's parameters before: these losses train the generator only.
        """
        return self._content(painted, goals) | self._judged(discriminator, painted, goals)

    def _content(self, painted: Tensor, goals: Goals) -> dict[str, Tensor]:
        given = (("vgg19", self.vgg19, self.weights.vgg19), ("vggface", self.vggface, self.weights.vggface))
        losses = {}
        for name, network, weight in given:
            if network is not None and weight > 0:
                with torch.no_grad():
                    expected = network(goals.frames)
                losses[name] = weight * _distances(network(painted), expected, goals)
        return losses or {"pixel": self.weights.pixel * _distances([painted], [goals.frames], goals)}

    def _judged(self, discriminator: nn.Module, painted: Tensor, goals: Goals) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        if max(self.weights.adversarial, self.weights.feature_matching) == 0:
            return losses
        fake: Verdict = discriminator(painted, goals.landmarks, goals.video)
        if self.weights.adversarial > 0:
            losses["adversarial"] = -self.weights.adversarial * _mean(fake.score, goals)
        if self.weights.feature_matching > 0:
            with torch.no_grad():
                real: Verdict = discriminator(goals.frames, goals.landmarks, goals.video)
            losses["feature_matching"] = self.weights.feature_matching * _distances(fake.features, real.features, goals)
        return losses


def hinge_loss(discriminator: nn.Module, painted: Tensor, goals: Goals) -> Tensor:
    """Return the hinge loss of the discriminator: real frames should score above 1, generated ones below -1.

    painted: generated images; detached here
    """
    fake: Verdict = discriminator(painted.detach(), goals.landmarks, goals.video)
    real: Verdict = discriminator(goals.frames, goals.landmarks, goals.video)
    return _mean(F.relu(1 + fake.score) + F.relu(1 - real.score), goals)


def match_loss(weight: float, vectors: Tensor, embeddings: Tensor, goals: Goals) -> Tensor:
    """Return the weighted distance of embeddings [B,C] and the discriminator's vectors of their videos [B,C]."""
    return weight * _distances([vectors], [embeddings], goals)


def _distances(ones: list[Tensor], others: list[Tensor], goals: Goals) -> Tensor:
    """Sum the mean absolute differences of pairs of tensors [B,...]."""
    return torch.stack([_mean(_row_means(one, other), goals) for one, other in zip(ones, others, strict=True)]).sum()


def _row_means(one: Tensor, other: Tensor) -> Tensor:
    difference = (one - other).abs().flatten(1)
    return difference.mean(dim=1, dtype=torch.promote_types(difference.dtype, torch.float32))


def _mean(rows: Tensor, goals: Goals) -> Tensor:
    return (rows * goals.counts).mean()
