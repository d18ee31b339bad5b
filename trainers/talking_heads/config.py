"""All settings of a training of talking heads, as in YAML files and checkpoints.

`CONFIGS` has the published settings. `trainers.settings.load` accepts one of their names, or a YAML file with fields of `Config`
and the name of its `base`:

    base: vox-256
    training: {global_batch_size: 12, frames: 4}
"""

from dataclasses import dataclass, field, replace

from motionshards.trainers.settings import Stored, TrainingSettings, require
from motionshards.trainers.talking_heads.architecture import Architecture

PUBLISHED_MATCH = 80.0
MATCH_WITHOUT_VGG = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """Weights of the losses; those with weight 0 are not computed.

    vgg19, vggface: distances of five layers of each network
    pixel: mean absolute difference of pixels, which is used if neither network is
    adversarial, feature_matching: the discriminator's score, and distances of the features of all its blocks
    match: mean absolute difference of an embedding and the discriminator's vector of its video; see also `without_vgg`
    """

    vgg19: float = 1e-2
    vggface: float = 2e-3
    pixel: float = 10.0
    adversarial: float = 1.0
    feature_matching: float = 10.0
    match: float = PUBLISHED_MATCH

    def __post_init__(self) -> None:
        image = (self.vgg19, self.vggface, self.pixel)
        require("weights must not be negative", min(*image, self.adversarial, self.feature_matching, self.match) >= 0)
        require("one of vgg19, vggface and pixel must be above 0", max(image) > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(TrainingSettings):
    """Settings of the optimization.

    global_batch_size: videos per step
    frames: K, the frames per video that the embedder receives; one more is the target
    learning_rate: learning rate of embedder and generator
    discriminator_learning_rate: learning rate of the discriminator
    discriminator_steps: discriminator steps per generator step
    """

    epochs: int = 75
    global_batch_size: int = 3
    frames: int = 8
    learning_rate: float = 5e-5
    discriminator_learning_rate: float = 2e-4
    betas: tuple[float, ...] = (0.9, 0.999)
    discriminator_steps: int = 2
    losses: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        require("frames and discriminator_steps must be at least 1", min(self.frames, self.discriminator_steps) >= 1)
        require("discriminator_learning_rate must be above 0", self.discriminator_learning_rate > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(Stored):
    """All settings of a training of talking heads.

    name: name for display
    """

    name: str = "vox-256"
    architecture: Architecture = field(default_factory=Architecture)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def without_vgg(config: Config) -> Config:
    """Return the settings for training without VGG networks: `MATCH_WITHOUT_VGG` replaces the published match weight only.

    The discriminator's vectors are distributed around 0, and embeddings are nonnegative. At the published weight the gradient
    of the match loss at an embedding is about 20 times that of pixels, score and features together, so embeddings move to 0,
    where the embedder's last ReLU has no gradient.
    """
    training = config.training
    if training.losses.match != PUBLISHED_MATCH:
        return config
    losses = replace(training.losses, match=MATCH_WITHOUT_VGG)
    return replace(config, training=replace(training, losses=losses))


_COMPAT = Config(
    name="vox-256-compat",
    architecture=Architecture(compat=True),
    training=TrainingConfig(losses=LossWeights(feature_matching=0.0)),
)

CONFIGS = {config.name: config for config in (Config(), _COMPAT)}
"""The published settings, as in the paper and as in the published code, which has no feature matching. Both have the 75 epochs of
the paper; the published code has 1000, at a constant learning rate."""
