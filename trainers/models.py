"""The models that can be trained, by name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from schemas.errors import ConfigError
from trainers.fomm.config import CONFIGS as FOMM_CONFIGS
from trainers.fomm.config import load as load_fomm
from trainers.fomm.training import FommPlan
from trainers.task import Plan


def _fomm(config: str, epochs: int | None, batch: int | None) -> Plan:
    whole = load_fomm(config)
    changes: dict[str, Any] = {
        name: value for name, value in (("epochs", epochs), ("global_batch_size", batch)) if value is not None
    }
    return FommPlan(replace(whole, training=replace(whole.training, **changes)))


MODELS: dict[str, tuple[Callable[[str, int | None, int | None], Plan], tuple[str, ...]]] = {"fomm": (_fomm, tuple(FOMM_CONFIGS))}
"""For each model, what makes a plan of a config's name or file, epochs and batch, and the names of its configs."""


def plan(model: str, config: str, epochs: int | None = None, batch: int | None = None) -> Plan:
    """The plan of a model's settings; `epochs` and `batch` replace those of the config.

    Raises:
        ConfigError: there is no such model or config, or a value that it cannot have
    """
    if model not in MODELS:
        raise ConfigError(f"--model is {model!r}, must be {' or '.join(MODELS)}")
    try:
        return MODELS[model][0](config, epochs, batch)
    except ValueError as error:
        raise ConfigError(f"--model {model} --config {config}: {error}") from error
