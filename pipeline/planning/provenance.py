"""What besides the config decides the bytes of a dataset: versions of the programs and hashes of the weights."""

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

# Bump when a change of this package changes the bytes it writes.
PIPELINE_VERSION = "4"


def provenance(config: BuildConfig, weights: Path | None = None, aus: AuSource | None = None) -> dict[str, str]:
    """Name -> version for all that has a say in the bytes. Raises ConfigError where files of a model are missing.

    weights: directory that is looked into first
    aus: where action units come from, if anywhere
    """
    return {
        "motionshards_pipeline": PIPELINE_VERSION,
        **decoder_versions(),
        **versions(),
        **models.provenance(config.landmarks, ModelOptions(config.detector, config.precision, weights)),
        **({"x264": encoder_version()} if config.moving else {}),
        **(speech.provenance() if config.speech else {}),
        **(shots.provenance() if config.recipe in TUBE_RECIPES else {}),
        **(aus.provenance() if aus else {}),
        **(descriptor.provenance() if config.identity_embedding or config.one_person else {}),
    }


def versions() -> dict[str, str]:
    """The versions of the packages that every sample depends on."""
    return {name: importlib.metadata.version(name) for name in ("simplejpeg", "numpy")}


def check_decoder(expected: str) -> None:
    """Raise BuildFailed where this machine's decoder has not the FFmpeg that the dataset is made with."""
    found = decoder_versions()["ffmpeg"]
    if found != expected:
        raise BuildFailed(f"this worker decodes with FFmpeg {found}, the dataset is made with {expected}")
