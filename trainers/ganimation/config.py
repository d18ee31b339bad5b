"""Everything that decides a training of GANimation, as it lies in a YAML file and in a checkpoint.

The defaults are the published ones. `trainers.settings.load` takes the name of one of `CONFIGS` or a YAML file
with the fields of `Config`:

    base: ganimation-128
    architecture: {size: 256}
    training: {global_batch_size: 16}
"""

from dataclasses import dataclass, field

from motionshards.trainers.ganimation.architecture import Architecture
from motionshards.trainers.settings import Stored, require
from motionshards.transforms.augment.augment import Augment


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
        require("weights are not negative", min(weights) >= 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How the networks are trained.

    repeats: how often an epoch goes over the clips, with another frame of each every time
    global_batch_size: pictures a step, of all processes together. The weights of `condition` and `smoothness` belong to 25:
        the one loss is divided by the batch twice, the other is a sum over it
    learning_rate, betas: of Adam, one for each network
    decay_epochs: the last ones, in which the learning rate falls in equal steps; all, where there are fewer
    generator_every: steps of the critic for each of the generator
    noise: desired intensities, on the scale of conditions, are another picture's and a uniform number from -noise to noise
    flip, brightness, contrast, saturation, hue: see `Augment`
    """

    epochs: int = 30
    repeats: int = 1
    global_batch_size: int = 25
    learning_rate: float = 1e-4
    betas: tuple[float, ...] = (0.5, 0.999)
    decay_epochs: int = 10
    generator_every: int = 5
    noise: float = 0.1
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    losses: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        counts = (self.epochs, self.repeats, self.global_batch_size, self.generator_every)
        require("epochs, repeats, global_batch_size and generator_every are at least 1", min(counts) >= 1)
        require("learning_rate is above 0", self.learning_rate > 0)
        require("betas are two numbers from 0 to below 1", len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas))
        require("decay_epochs and noise are not negative", min(self.decay_epochs, self.noise) >= 0)
        self.augment()

    def augment(self) -> Augment:
        """What is done to the pictures before they are seen. A mirror image shows the same action units."""
        jitter = {name: getattr(self, name) for name in ("brightness", "contrast", "saturation", "hue")}
        return Augment(flip=self.flip, **jitter)

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
