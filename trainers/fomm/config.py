"""All settings of a training of the first order motion model, as in YAML files and checkpoints.

Defaults are those of vox-256. `CONFIGS` has the published settings. `trainers.settings.load` accepts one of their names, or a
YAML file with fields of `Config` and the name of its `base`:

    base: vox-adv-256
    architecture: {size: 512, detector: {scale: 0.125}, dense_motion: {scale: 0.125}}
    training: {global_batch_size: 16}
"""

from dataclasses import dataclass, field, replace

from motionshards.trainers.fomm.architecture import Architecture, DiscriminatorConfig, require_scales
from motionshards.trainers.settings import AugmentedTraining, Stored, require
from motionshards.transforms.augment.augment import Augment


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """Weights of the losses; those with weight 0 are not computed.

    scales: image scales of the perceptual loss
    perceptual: weights of the five layers of VGG19
    pixel: mean absolute difference of pixels over the same scales, which is used if VGG19 is not
    feature_matching: weights of the discriminator's blocks, used if generator_gan is not 0
    """

    scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    perceptual: tuple[float, ...] = (10.0,) * 5
    pixel: float = 10.0
    generator_gan: float = 0.0
    discriminator_gan: float = 1.0
    feature_matching: tuple[float, ...] = (10.0,) * 4
    equivariance_value: float = 10.0
    equivariance_jacobian: float = 10.0

    def __post_init__(self) -> None:
        require_scales(self.scales)
        require("perceptual must have a weight for each of 5 layers", len(self.perceptual) == 5)
        require("weights must not be negative", min(*self.perceptual, *self.feature_matching, *self._single()) >= 0)

    def _single(self) -> tuple[float, ...]:
        adversarial = (self.generator_gan, self.discriminator_gan)
        return (self.pixel, *adversarial, self.equivariance_value, self.equivariance_jacobian)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(AugmentedTraining):
    """Settings of the optimization.

    global_batch_size: pairs of frames per step
    milestones: epochs after which the learning rate is multiplied by `decay`
    one_pair_per_identity: draw one clip per identity in each repetition, instead of all clips
    time_flip: see `Augment`
    sigma_affine, sigma_tps, points_tps: parameters of the random transform, see `Warp.draw`
    """

    epochs: int = 100
    repeats: int = 75
    global_batch_size: int = 40
    learning_rate: float = 2e-4
    milestones: tuple[int, ...] = (60, 90)
    decay: float = 0.1
    one_pair_per_identity: bool = True
    time_flip: float = 0.5
    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.1
    hue: float = 0.1
    sigma_affine: float = 0.05
    sigma_tps: float = 0.005
    points_tps: int = 5
    losses: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        AugmentedTraining.__post_init__(self)
        require("decay must be above 0", self.decay > 0)
        require("milestones must be increasing epochs", list(self.milestones) == sorted({*self.milestones}))
        require("sigma_affine and sigma_tps must not be negative", min(self.sigma_affine, self.sigma_tps) >= 0)
        require("points_tps must be at least 2, or 0 for the affine map alone", self.points_tps == 0 or self.points_tps >= 2)

    def augment(self) -> Augment:
        """See TrainingSettings."""
        return replace(AugmentedTraining.augment(self), time_flip=self.time_flip)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(Stored):
    """All settings of a training of the first order motion model.

    name: name for display
    """

    name: str = "vox-256"
    architecture: Architecture = field(default_factory=Architecture)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        losses, networks = self.training.losses, self.architecture
        blocks = networks.discriminator.blocks
        adversarial = losses.generator_gan > 0
        require(
            f"feature_matching must have a weight for each of the discriminator's {blocks} blocks",
            not adversarial or len(losses.feature_matching) == blocks,
        )
        require("equivariance_jacobian must be 0 without jacobians", networks.jacobians or losses.equivariance_jacobian == 0)


_PLAIN = Architecture(discriminator=DiscriminatorConfig(spectral_norm=False))
_ADVERSARIAL = LossWeights(generator_gan=1.0)

CONFIGS = {
    config.name: config
    for config in (
        Config(name="vox-256"),
        Config(
            name="vox-adv-256",
            architecture=Architecture(discriminator=DiscriminatorConfig(spectral_norm=False, keypoints=True)),
            training=TrainingConfig(epochs=150, global_batch_size=36, milestones=(), losses=_ADVERSARIAL),
        ),
        Config(name="taichi-256", architecture=_PLAIN, training=TrainingConfig(repeats=150, global_batch_size=30)),
        Config(
            name="fashion-256",
            architecture=_PLAIN,
            training=TrainingConfig(
                repeats=50,
                global_batch_size=27,
                losses=_ADVERSARIAL,
                one_pair_per_identity=False,
                brightness=0.0,
                contrast=0.0,
                saturation=0.0,
            ),
        ),
    )
}
"""The published settings, with `align_corners` as in the training of the released weights."""
