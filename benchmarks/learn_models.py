"""The trainings of `benchmarks.learn`: narrow networks for images of 64 px, and the reconstructors of held-out clips."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from motionshards.trainers.evaluation.reconstruction import Reconstructor
from motionshards.trainers.face_rotator.evaluate import FaceRotatorReconstructor
from motionshards.trainers.fomm.evaluate import FommReconstructor
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.ganimation.evaluate import GanimationReconstructor
from motionshards.trainers.talking_heads.evaluate import TalkingHeadsReconstructor

SIZE_PX = 64

# A single epoch, longer than any training here.
_ENDLESS = {"epochs": 1, "repeats": 1_000_000}
_K = 4
_FRONTAL_DEG = 10.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of `motionshards train`.

    loss: name of the reported loss in the run's metrics
    settings: changes to its `--config`
    """

    name: str
    steps: int
    loss: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Course:
    """How a model is trained and evaluated.

    stages: each starts from the checkpoint of the previous one
    reconstructor: created from the task's networks by name, and its config
    """

    stages: tuple[Stage, ...]
    reconstructor: Callable[[Mapping[str, Any], Any], Reconstructor]


_FOMM = {
    "architecture": {
        "size": SIZE_PX,
        "keypoints": 8,
        "detector": {"block_expansion": 8, "max_features": 64, "blocks": 3},
        "dense_motion": {"block_expansion": 8, "max_features": 64, "blocks": 3},
        "generator": {"block_expansion": 16, "max_features": 64, "bottleneck_blocks": 2},
    },
    "training": {**_ENDLESS, "global_batch_size": 8, "learning_rate": 0.001, "one_pair_per_identity": False},
}
_TALKING_HEADS = {
    "architecture": {"size": SIZE_PX, "width": 16, "halvings": 4, "residuals": 2},
    "training": {
        **_ENDLESS,
        "global_batch_size": 4,
        "frames": _K,
        "learning_rate": 0.001,
        "losses": {"adversarial": 0.1, "feature_matching": 1},
    },
}
_GANIMATION = {
    "architecture": {"size": SIZE_PX, "width": 16, "residuals": 2},
    "training": {
        **_ENDLESS,
        "global_batch_size": 8,
        "learning_rate": 0.0005,
        "generator_every": 2,
        # The published loss weights are for batches of 25, see docs/ganimation.md.
        "losses": {"condition": 1280, "smoothness": 3e-5},
    },
}


def _rotator_stage(stage: str, loss: str, steps: int) -> Stage:
    training = {"global_batch_size": 8, "learning_rate": 0.001, "frontal_deg": _FRONTAL_DEG, "alike": 0.3}
    architecture = {"size": SIZE_PX, "width": 12, "blocks": 2}
    return Stage(stage, steps, loss, {"base": stage, "architecture": architecture, "training": {**_ENDLESS, **training}})


COURSES = {
    "fomm": Course(
        (Stage("fomm", 1000, "pixel", _FOMM),),
        lambda networks, config: FommReconstructor(
            FoldedNetworks(networks["kp_detector"], networks["generator"]), config.architecture.size
        ),
    ),
    "talking_heads": Course(
        (Stage("talking_heads", 700, "pixel", _TALKING_HEADS),),
        lambda networks, config: TalkingHeadsReconstructor(
            networks["E_state_dict"], networks["G_state_dict"], config.architecture.size, config.training.frames
        ),
    ),
    "ganimation": Course(
        (Stage("ganimation", 800, "g_condition", _GANIMATION),),
        lambda networks, config: GanimationReconstructor(networks["G"], config.architecture.size),
    ),
    "face_rotator": Course(
        (
            _rotator_stage("morpher", "pixel_morphed", 300),
            _rotator_stage("rotator", "pixel_moved", 500),
            _rotator_stage("combiner", "pixel_combined", 300),
        ),
        lambda networks, config: FaceRotatorReconstructor(networks, config.architecture.size, config.training.frontal_deg),
    ),
}
