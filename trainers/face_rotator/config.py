"""Everything that decides a training of one of the face rotator's networks, as it lies in a YAML file and in a checkpoint.

`CONFIGS` holds the three stages with the published settings. `trainers.settings.load` takes one of their names or a YAML file
with the fields of `Config`, which says in `base` where to start:

    base: rotator
    training: {global_batch_size: 32, frontal_deg: 10}
"""

from dataclasses import dataclass, field

from motionshards.dataset.views import PosePairs
from motionshards.trainers.face_rotator.architecture import Architecture
from motionshards.trainers.face_rotator.networks import NAMES
from motionshards.trainers.face_rotator.pose import MOST_DEG
from motionshards.trainers.settings import AugmentedTraining, Stored, require


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(AugmentedTraining):
    """How a network is trained. Pairs of frames are of one clip.

    stage: which network: morpher, rotator or combiner. The others are kept as they are
    global_batch_size: pairs of frames
    pixel_epochs: epochs, also parts of one, that compare pixels before the perceptual loss takes over; the morpher's always do
    frontal_deg: of the source's yaw, pitch and roll none is larger
    least_deg, most_deg: the largest of the three angles between source and target lies between them
    alike: eyes and mouths that differ by less count as the same, see `trainers.face_rotator.pose.expression`. Rotator and
        combiner learn from pairs that have them all the same, the morpher from those that have not
    still_flow: the rotator's flow begins at leaving everything in its place, instead of being drawn at random as published
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
        require(f"stage must be {' or '.join(NAMES)}", self.stage in NAMES)
        AugmentedTraining.__post_init__(self)
        require("pixel_epochs must not be negative", self.pixel_epochs >= 0)
        require(f"most_deg must be at most {MOST_DEG:g}", self.most_deg <= MOST_DEG)
        require("alike must be above 0", self.alike > 0)
        self.view()

    def view(self) -> PosePairs:
        """The pairs of frames that are read."""
        return PosePairs(frontal_deg=self.frontal_deg, least_deg=self.least_deg, most_deg=self.most_deg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(Stored):
    """A training of one of the networks. `to_json` and `from_json` take it into a checkpoint and back.

    name: for people
    """

    name: str = "morpher"
    architecture: Architecture = field(default_factory=Architecture)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def _rotation(stage: str, epochs: int) -> Config:
    """Sources within a fifth of 15 degrees of frontal, as published."""
    training = TrainingConfig(stage=stage, epochs=epochs, global_batch_size=8, frontal_deg=3.0, least_deg=1.0, most_deg=MOST_DEG)
    return Config(name=stage, training=training)


CONFIGS = {config.name: config for config in (Config(), _rotation("rotator", 6), _rotation("combiner", 3))}
"""The stages in order, with the published settings where there are any; docs/face-rotator.md has what is ours."""
