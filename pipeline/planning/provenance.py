"""Everything besides the config that determines the bytes of a dataset: versions of programs and hashes of weights."""

import importlib.metadata
from pathlib import Path

from motionshards.schemas.config import TUBE_RECIPES, BuildConfig
from motionshards.schemas.errors import BuildFailed
from motionshards.transforms.extract import speech
from motionshards.transforms.extract.action_units.source import AuSource
from motionshards.transforms.extract.decoder.client import decoder_versions, encoder_version
from motionshards.transforms.extract.identity import descriptor
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.options import ModelOptions
from motionshards.transforms.extract.shots import finder as shots

# Increase when a change to this package changes the bytes it writes.
PIPELINE_VERSION = "4"


def provenance(config: BuildConfig, weights: Path | None = None, aus: AuSource | None = None) -> dict[str, str]:
    """Name -> version of everything that affects the bytes. Raises ConfigError: files of a model are missing.

    weights: directory that is searched first for model files
    aus: source of action units, if any
    """
    return {
        "motionshards_pipeline": PIPELINE_VERSION,
        **decoder_versions(),
        **versions(),
        **models.provenance(config.landmarks, ModelOptions(config.detector, config.precision, weights)),
        **({"x264": encoder_version()} if config.stores_video else {}),
        **(speech.provenance() if config.speech else {}),
        **(shots.provenance() if config.recipe in TUBE_RECIPES else {}),
        **(aus.provenance() if aus else {}),
        **(descriptor.provenance() if config.identity_embedding or config.one_person else {}),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that every sample depends on."""
    return {name: importlib.metadata.version(name) for name in ("simplejpeg", "numpy")}


def check_decoder(expected: str) -> None:
    """Raise BuildFailed if the decoder of this machine uses another FFmpeg version than the dataset."""
    found = decoder_versions()["ffmpeg"]
    if found != expected:
        raise BuildFailed(f"this worker decodes with FFmpeg {found}, but the dataset is built with {expected}")
