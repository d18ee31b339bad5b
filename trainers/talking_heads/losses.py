"""The losses (section 3.2 of the paper).

Losses are weighted, and their sum is minimized. Rows that do not count contribute 0 but are included in the divisor, so that
parts of a batch and processes have equal weights. Sums are float32 or finer.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from motionshards.trainers.talking_heads.config import LossWeights
from motionshards.trainers.talking_heads.discriminator import DiscriminatorOutput
from motionshards.trainers.talking_heads.episodes import Targets
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

    def forward(self, discriminator: nn.Module, rendered: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Return the scalar losses `vgg19`, `vggface` or `pixel`, `adversarial` and `feature_matching` of images [B,3,H,W].

        Disable gradients of the discriminator's parameters before: these losses train the generator only.
        """
        return self._content(rendered, targets) | self._judged(discriminator, rendered, targets)

    def _content(self, rendered: Tensor, targets: Targets) -> dict[str, Tensor]:
        given = (("vgg19", self.vgg19, self.weights.vgg19), ("vggface", self.vggface, self.weights.vggface))
        losses = {}
        for name, network, weight in given:
            if network is not None and weight > 0:
                with torch.no_grad():
                    expected = network(targets.frames)
                losses[name] = weight * _distances(network(rendered), expected, targets)
        return losses or {"pixel": self.weights.pixel * _distances([rendered], [targets.frames], targets)}

    def _judged(self, discriminator: nn.Module, rendered: Tensor, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        if max(self.weights.adversarial, self.weights.feature_matching) == 0:
            return losses
        fake: DiscriminatorOutput = discriminator(rendered, targets.landmarks, targets.video)
        if self.weights.adversarial > 0:
            losses["adversarial"] = -self.weights.adversarial * _mean(fake.score, targets)
        if self.weights.feature_matching > 0:
            with torch.no_grad():
                real: DiscriminatorOutput = discriminator(targets.frames, targets.landmarks, targets.video)
            losses["feature_matching"] = self.weights.feature_matching * _distances(fake.features, real.features, targets)
        return losses


def hinge_loss(discriminator: nn.Module, rendered: Tensor, targets: Targets) -> Tensor:
    """Return the hinge loss of the discriminator: real frames should score above 1, generated ones below -1.

    rendered: generated images; detached here
    """
    fake: DiscriminatorOutput = discriminator(rendered.detach(), targets.landmarks, targets.video)
    real: DiscriminatorOutput = discriminator(targets.frames, targets.landmarks, targets.video)
    return _mean(F.relu(1 + fake.score) + F.relu(1 - real.score), targets)


def match_loss(weight: float, vectors: Tensor, embeddings: Tensor, targets: Targets) -> Tensor:
    """Return the weighted distance of embeddings [B,C] and the discriminator's vectors of their videos [B,C]."""
    return weight * _distances([vectors], [embeddings], targets)


def _distances(ones: list[Tensor], others: list[Tensor], targets: Targets) -> Tensor:
    """Sum the mean absolute differences of pairs of tensors [B,...]."""
    return torch.stack([_mean(_row_means(one, other), targets) for one, other in zip(ones, others, strict=True)]).sum()


def _row_means(one: Tensor, other: Tensor) -> Tensor:
    difference = (one - other).abs().flatten(1)
    return difference.mean(dim=1, dtype=torch.promote_types(difference.dtype, torch.float32))


def _mean(rows: Tensor, targets: Targets) -> Tensor:
    return (rows * targets.counts).mean()
