"""The models that can be trained, by name."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from motionshards.schemas.errors import ConfigError, either
from motionshards.trainers import settings
from motionshards.trainers.face_rotator.config import CONFIGS as FACE_ROTATOR_CONFIGS
from motionshards.trainers.face_rotator.training import FaceRotatorPlan
from motionshards.trainers.fomm.config import CONFIGS as FOMM_CONFIGS
from motionshards.trainers.fomm.training import FommPlan
from motionshards.trainers.ganimation.config import CONFIGS as GANIMATION_CONFIGS
from motionshards.trainers.ganimation.training import GanimationPlan
from motionshards.trainers.talking_heads.config import CONFIGS as TALKING_HEADS_CONFIGS
from motionshards.trainers.talking_heads.training import TalkingHeadsPlan
from motionshards.trainers.task import Plan


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be trained.

    configs: its named configs
    plan: creates the plan of a config
    """

    configs: Mapping[str, Any]
    plan: Callable[[Any], Plan[Any]]


MODELS = {
    "face_rotator": Model(FACE_ROTATOR_CONFIGS, FaceRotatorPlan),
    "fomm": Model(FOMM_CONFIGS, FommPlan),
    "ganimation": Model(GANIMATION_CONFIGS, GanimationPlan),
    "talking_heads": Model(TALKING_HEADS_CONFIGS, TalkingHeadsPlan),
}


def plan(model: str, config: str, epochs: int | None = None, batch: int | None = None) -> Plan[Any]:
    """Return the plan of a model and config; `epochs` and `batch` override those of the config.

    Raises:
        ConfigError: there is no such model or config, or a setting has an invalid value
    """
    if model not in MODELS:
        near = difflib.get_close_matches(model, MODELS, 1)
        raise ConfigError(f"--model is {model!r}, must be {either(MODELS)}{f'; did you mean {near[0]}?' if near else ''}")
    given = {name: value for name, value in (("epochs", epochs), ("global_batch_size", batch)) if value is not None}
    try:
        loaded = settings.load(config, MODELS[model].configs)
        return MODELS[model].plan(replace(loaded, training=replace(loaded.training, **given)))
    except ValueError as error:
        raise ConfigError(f"--model {model} --config {config}: {error}") from error
