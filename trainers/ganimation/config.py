"""Everything that decides a training of GANimation, as it lies in a YAML file and in a checkpoint.

The defaults are the published ones. `trainers.settings.load` takes the name of one of `CONFIGS` or a YAML file
with the fields of `Config`:

    base: ganimation-128
    architecture: {size: 256}
    training: {global_batch_size: 16}
"""

from dataclasses import dataclass, field

from motionshards.trainers.ganimation.architecture import Architecture
from motionshards.trainers.settings import AugmentedTraining, Stored, require


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """What each loss counts, see `trainers.ganimation.losses`.

    adversarial: of the critic's score, in both steps
    condition: of the squared error of action units, which is also divided by the batch
    penalty: of the critic's gradients
    cycle: of the difference between a picture and what comes back when its change is undone
    attention: of the masks' means, smoothness: of the sum of their differences between neighbours, over the batch
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
    """How the networks are trained.

    global_batch_size: images. The weights of `condition` and `smoothness` belong to 25:
        the one loss is divided by the batch twice, the other is a sum over it
    decay_epochs: the last ones, in which the learning rate falls in equal steps; all, where there are fewer
    generator_every: steps of the critic for each of the generator, counted anew in every epoch
    noise: desired intensities, on the scale of conditions, are another picture's and a uniform number from -noise to noise
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

    def learning_rate_factor(self, epoch: int) -> float:
        """By which the learning rate is multiplied in an epoch, from 0 on: 1, and in the last one 1 / decay_epochs."""
        return min(1.0, (self.epochs - epoch) / max(1, min(self.decay_epochs, self.epochs)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(Stored):
    """A training of GANimation. `to_json` and `from_json` take it into a checkpoint and back.

    name: for people
    """

    name: str = "ganimation-128"
    architecture: Architecture = field(default_factory=Architecture)
    training: TrainingConfig = field(default_factory=TrainingConfig)


CONFIGS = {config.name: config for config in (Config(),)}
"""The published settings; they were published for 128 px alone."""
