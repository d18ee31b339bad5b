"""All settings of a training of one of the face rotator's networks, as in YAML files and checkpoints.

`CONFIGS` has the three stages with the published settings. `trainers.settings.load` accepts one of their names, or a YAML file
with fields of `Config` and the name of its `base`:

    base: rotator
    training: {global_batch_size: 32, frontal_deg: 10}
"""

from dataclasses import dataclass, field

from motionshards.dataset.views import PosePairs
from motionshards.schemas.errors import either
from motionshards.trainers.face_rotator.architecture import Architecture
from motionshards.trainers.face_rotator.networks import NAMES
from motionshards.trainers.face_rotator.pose import MAX_DEG
from motionshards.trainers.settings import AugmentedTraining, Stored, require


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(AugmentedTraining):
    """Settings of the optimization and of the choice of pairs, which are two frames of one clip.

    stage: network to train: morpher, rotator or combiner. The others are not changed
    global_batch_size: pairs of frames per step
    pixel_epochs: epochs with a pixel loss before the perceptual loss takes over, may be fractional; the morpher always has a
        pixel loss
    frontal_deg: largest yaw, pitch and roll of the source, degrees
    least_deg, most_deg: range of the largest of the three angles between source and target, degrees
    alike: eyes and mouths that differ by less count as equal, see `trainers.face_rotator.pose.expression`. Rotator and combiner
        learn from pairs with all three equal, the morpher from the others
    still_flow: initialize the rotator's flow as the identity, instead of randomly as published
    """

    stage: str = "morpher"
    epochs: int = 6
    global_batch_size: int = 25
    pixel_epochs: float = 0.5
    frontal_deg: float = 15.0
    least_deg: float = 0.0
    most_deg: float = 3.0
    alike: float = 0.1
    still_flow: bool = True

    def __post_init__(self) -> None:
        require(f"stage must be {either(NAMES)}", self.stage in NAMES)
        AugmentedTraining.__post_init__(self)
        require("pixel_epochs must not be negative", self.pixel_epochs >= 0)
        require(f"most_deg must be at most {MAX_DEG:g}", self.most_deg <= MAX_DEG)
        require("alike must be above 0", self.alike > 0)
        self.view()

    def view(self) -> PosePairs:
        """Return the view that selects pairs of frames."""
        return PosePairs(frontal_deg=self.frontal_deg, least_deg=self.least_deg, most_deg=self.most_deg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(Stored):
    """All settings of a training of one of the networks.

    name: name for display
    """

    name: str = "morpher"
    architecture: Architecture = field(default_factory=Architecture)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def _rotation(stage: str, epochs: int) -> Config:
    """Build the config of a stage with sources within a fifth of 15 degrees of frontal, as published."""
    training = TrainingConfig(stage=stage, epochs=epochs, global_batch_size=8, frontal_deg=3.0, least_deg=1.0, most_deg=MAX_DEG)
    return Config(name=stage, training=training)


CONFIGS = {config.name: config for config in (Config(), _rotation("rotator", 6), _rotation("combiner", 3))}
"""The stages in order, with the published settings; docs/face-rotator.md lists the differences."""
