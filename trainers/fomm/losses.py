"""Losses of generator, detector and discriminator (section 3.3 of the paper, and the published code).

Both modules are called with the networks, which are in training mode and may be wrapped, and with the random transform. They
return named, weighted losses whose sum is minimized. Shape suffixes: B pairs, C channels, K keypoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motionshards.trainers.fomm.blocks import reduction
from motionshards.trainers.fomm.config import Config
from motionshards.trainers.fomm.discriminator import DiscriminatorOutput
from motionshards.trainers.fomm.generator import Generated
from motionshards.trainers.fomm.keypoints import Keypoints, inverse_2x2, product_2x2
from motionshards.trainers.precision import at_least_float32
from motionshards.trainers.vgg import Vgg
from motionshards.transforms.augment.tps import Warp


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneratorResult:
    """Losses of a step, and the outputs that image grids and the discriminator's loss need."""

    losses: dict[str, Tensor]
    """Scalars: `perceptual` or `pixel`, `gen_gan`, `feature_matching`, `equivariance_value`, `equivariance_jacobian`; those
    with weight 0 are absent."""
    generated: Generated
    source_keypoints: Keypoints
    driving_keypoints: Keypoints
    transformed_keypoints: Keypoints | None
    """Keypoints of `transformed`; None if both equivariance losses have weight 0."""
    transformed: Tensor | None
    """[B,C,H,W], the driving image under the random transform."""


class GeneratorLoss(nn.Module):
    """The joint losses of generator and detector.

    vgg: VGG19 with the five taps `vgg.RELU_N_1`. None replaces the perceptual loss by the mean absolute difference of pixels over
        the same scales, since nothing else compares images with their targets; results are then blurred.
    """

    def __init__(self, config: Config, vgg: Vgg | None) -> None:
        super().__init__()
        self.weights, self.align_corners = config.training.losses, config.architecture.align_corners
        self.vgg = vgg
        self.pyramid = Pyramid(self.weights.scales, config.architecture.channels)
        self.discriminator_pyramid = Pyramid(config.architecture.discriminator.scales, config.architecture.channels)

    def forward(
        self,
        detector: nn.Module,
        generator: nn.Module,
        discriminator: nn.Module,
        source: Tensor,
        driving: Tensor,
        transform: Warp,
    ) -> GeneratorResult:
        """Compute the losses of images [B,C,H,W] in [0, 1] with a transform for each.

        The detector runs three times, since batch statistics would differ in a single batch. The backward pass also reaches the
        discriminator, which is not trained here: clear its gradients before its own step.
        """
        source_keypoints, driving_keypoints = detector(source), detector(driving)
        generated = generator(source, source_keypoints=source_keypoints, driving_keypoints=driving_keypoints)
        losses = self._reconstruction(generated.prediction, driving)
        if self.weights.generator_gan > 0:
            losses |= self._adversarial(discriminator, generated.prediction, driving, driving_keypoints.detach())
        transformed, keypoints = None, None
        if max(self.weights.equivariance_value, self.weights.equivariance_jacobian) > 0:
            transformed = transform.warp_frames(driving, align_corners=self.align_corners)
            keypoints = detector(transformed)
            losses |= self._equivariance(driving_keypoints, keypoints, transform)
        return GeneratorResult(
            losses=losses,
            generated=generated,
            source_keypoints=source_keypoints,
            driving_keypoints=driving_keypoints,
            transformed_keypoints=keypoints,
            transformed=transformed,
        )

    def _reconstruction(self, prediction: Tensor, driving: Tensor) -> dict[str, Tensor]:
        """Distances of the prediction from the driving image, summed over scales and layers of VGG19."""
        pairs = list(zip(self.pyramid(prediction).values(), self.pyramid(driving).values(), strict=True))
        if self.vgg is not None and any(self.weights.perceptual):
            return {"perceptual": _sum([self._perceptual(self.vgg, *pair) for pair in pairs])}
        if self.vgg is None and self.weights.pixel > 0:
            return {"pixel": self.weights.pixel * _sum([_distance(*pair) for pair in pairs])}
        return {}

    def _perceptual(self, vgg: Vgg, prediction: Tensor, driving: Tensor) -> Tensor:
        with torch.no_grad():
            expected = vgg(driving)
        return _weighted_distances(self.weights.perceptual, vgg(prediction), expected)

    def _adversarial(
        self, discriminator: nn.Module, prediction: Tensor, driving: Tensor, keypoints: Keypoints
    ) -> dict[str, Tensor]:
        """Least squares loss (Mao et al. 2017), and distances of the features of the discriminator's blocks."""
        fake: list[DiscriminatorOutput] = discriminator(self.discriminator_pyramid(prediction), keypoints)
        # The features of the real image do not depend on the networks trained here.
        with torch.no_grad():
            real: list[DiscriminatorOutput] = discriminator(self.discriminator_pyramid(driving), keypoints)
        fooled = _sum([_squared_error(verdict.score, 1.0) for verdict in fake])
        weights = self.weights.feature_matching
        matched = [_weighted_distances(weights, one.features, other.features) for one, other in zip(fake, real, strict=True)]
        return {"gen_gan": self.weights.generator_gan * fooled} | ({"feature_matching": _sum(matched)} if any(weights) else {})

    def _equivariance(self, driving: Keypoints, transformed: Keypoints, transform: Warp) -> dict[str, Tensor]:
        """Distances of the keypoints of the transformed image, mapped back, from those of the driving image."""
        losses = {}
        if self.weights.equivariance_value > 0:
            back = transform.warp_coordinates(transformed.value)
            losses["equivariance_value"] = self.weights.equivariance_value * _distance(driving.value, back)
        if self.weights.equivariance_jacobian > 0 and driving.jacobian is not None and transformed.jacobian is not None:
            back = product_2x2(transform.jacobian(transformed.value), transformed.jacobian)
            ratio = product_2x2(inverse_2x2(driving.jacobian), back)
            identity = torch.eye(2, dtype=ratio.dtype, device=ratio.device)
            losses["equivariance_jacobian"] = self.weights.equivariance_jacobian * _distance(identity, ratio)
        return losses


class DiscriminatorLoss(nn.Module):
    """The loss of the discriminator: least squares, with targets 1 for real and 0 for generated images."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.weight = config.training.losses.discriminator_gan
        self.discriminator_pyramid = Pyramid(config.architecture.discriminator.scales, config.architecture.channels)

    def forward(self, discriminator: nn.Module, prediction: Tensor, driving: Tensor, keypoints: Keypoints) -> dict[str, Tensor]:
        """Return `disc_gan` of images [B,C,H,W]: the prediction before the generator's step, and the driving image.

        keypoints: keypoints of the driving image
        """
        fake: list[DiscriminatorOutput] = discriminator(self.discriminator_pyramid(prediction.detach()), keypoints.detach())
        real: list[DiscriminatorOutput] = discriminator(self.discriminator_pyramid(driving), keypoints.detach())
        terms = [_squared_error(one.score, 1.0) + _squared_error(other.score, 0.0) for one, other in zip(real, fake, strict=True)]
        return {"disc_gan": self.weight * _sum(terms)}


class Pyramid(nn.Module):
    """Downsamples images [B,C,H,W] to several scales. Returns them by scale."""

    def __init__(self, scales: Sequence[float], channels: int) -> None:
        super().__init__()
        self.scales = tuple(scales)
        self.reductions = nn.ModuleList(reduction(channels, scale) for scale in scales)

    def forward(self, images: Tensor) -> dict[float, Tensor]:
        return {scale: reduce(images) for scale, reduce in zip(self.scales, self.reductions, strict=True)}


def _weighted_distances(weights: Sequence[float], ones: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    return _sum([weight * _distance(one, other) for weight, one, other in zip(weights, ones, others, strict=True)])


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Mean absolute difference, summed in float32 or finer."""
    difference = (one - other).abs()
    return difference.mean(dtype=torch.promote_types(difference.dtype, torch.float32))


def _squared_error(score: Tensor, expected: float) -> Tensor:
    return (at_least_float32(score) - expected).square().mean()


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()
