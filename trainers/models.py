"""The models that can be trained, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from schemas.errors import ConfigError
from trainers.fomm.config import CONFIGS as FOMM_CONFIGS
from trainers.fomm.config import load as load_fomm
from trainers.fomm.training import FommPlan
from trainers.task import Plan


@dataclass(frozen=True, slots=True)
class Model:
    """What can be trained.

    configs: the named ones
    load: gives the config of a name or a YAML file; a config has settings `training` with `epochs` and `global_batch_size`
    plan: made of a config
    """

    configs: Mapping[str, Any]
    load: Callable[[str], Any]
    plan: Callable[[Any], Plan]


MODELS = {"fomm": Model(FOMM_CONFIGS, load_fomm, FommPlan)}


def plan(model: str, config: str, epochs: int | None = None, batch: int | None = None) -> Plan:
    """The plan of a model's settings; `epochs` and `batch` replace those of the config.

    Raises:
        ConfigError: there is no such model or config, or a value that it cannot have
    """
    if model not in MODELS:
        raise ConfigError(f"--model is {model!r}, must be {' or '.join(MODELS)}")
    given = {name: value for name, value in (("epochs", epochs), ("global_batch_size", batch)) if value is not None}
    try:
        whole = MODELS[model].load(config)
        return MODELS[model].plan(replace(whole, training=replace(whole.training, **given)))
    except ValueError as error:
        raise ConfigError(f"--model {model} --config {config}: {error}") from error
