"""All settings of a training of GANimation, as in YAML files and checkpoints.

Defaults are the published values. `trainers.settings.load` accepts the name of one of `CONFIGS`, or a YAML file with fields of
`Config`:

    base: ganimation-128
    architecture: {size: 256}
    training: {global_batch_size: 16}
"""

from dataclasses import dataclass, field

from motionshards.trainers.ganimation.architecture import Architecture
from motionshards.trainers.settings import AugmentedTraining, Stored, require


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """Weights of the losses, see `trainers.ganimation.losses`.

    adversarial: the critic's score, in both steps
    condition: squared error of action units, which is also divided by the batch size
    penalty: gradient penalty of the critic
    cycle: difference of an image and its restoration from the edited image
    attention: mean of the masks
    smoothness: total variation of the masks, summed over the batch
    """

    adversarial: float = 1.0
    condition: float = 4000.0
    penalty: float = 10.0
    cycle: float = 10.0
    attention: float = 0.1
    smoothness: float = 1e-5

    def __post_init__(self) -> None:
        weights = (self.adversarial, self.condition, self.penalty, self.cycle, self.attention, self.smoothness)
        require("weights must not be negative", min(weights) >= 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(AugmentedTraining):
    """Settings of the optimization.

    global_batch_size: images per step. The weights of `condition` and `smoothness` belong to 25, since the former is divided by
        the batch size twice, and the latter is a sum over the batch
    decay_epochs: number of final epochs with linear decay of the learning rate; all epochs if there are fewer
    generator_every: critic steps per generator step, counted from the start of each epoch
    noise: amplitude of the uniform noise added to target conditions
    """

    epochs: int = 30
    global_batch_size: int = 25
    decay_epochs: int = 10
    generator_every: int = 5
    noise: float = 0.1
    losses: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        AugmentedTraining.__post_init__(self)
        require("generator_every must be at least 1", self.generator_every >= 1)
        require("decay_epochs and noise must not be negative", min(self.decay_epochs, self.noise) >= 0)

    @property
    def can_extend(self) -> bool:
        """See TrainingSettings."""
        return self.decay_epochs <= 1

    def learning_rate_factor(self, epoch: int) -> float:
        """Return the factor of the learning rate in an epoch, counted from 0: at first 1, in the last one 1 / decay_epochs."""
        return min(1.0, (self.epochs - epoch) / max(1, min(self.decay_epochs, self.epochs)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(Stored):
    """All settings of a training of GANimation.

    name: name for display
    """

    name: str = "ganimation-128"
    architecture: Architecture = field(default_factory=Architecture)
    training: TrainingConfig = field(default_factory=TrainingConfig)


CONFIGS = {config.name: config for config in (Config(),)}
"""The published settings, for 128 px only."""
