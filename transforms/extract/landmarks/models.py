"""The interface of face models, and the choice of one for a build.

To add a model, add a line to `MODELS`. Models are loaded once per process, on first use, because a worker builds many shards.
"""

import functools
import importlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.records import Landmarks
from motionshards.transforms.extract.detect import Detections, Images
from motionshards.transforms.extract.landmarks.options import ModelOptions

MODELS = {
    "dlib": "motionshards.transforms.extract.landmarks.dlib68:Dlib68",
    "fan": "motionshards.transforms.extract.landmarks.fan.model:Fan",
    "fan3d": "motionshards.transforms.extract.landmarks.fan.model:Fan3d",
}
ON_TORCH = ("fan", "fan3d")
CHOICES = ("auto", *MODELS, "none")
_DEFAULT = ModelOptions()


class FaceModel(Protocol):
    """Finds faces and their landmarks in the frames of any number of clips.

    batch_frames: preferred number of frames per call; 1 for models that work frame by frame
    least_face_px: smaller faces are not found at the scale of the image
    searches_gray: whether it searches grayscale images; color would only be converted
    """

    batch_frames: int
    least_face_px: float
    searches_gray: bool

    def detect(self, images: Images, *, enlarged: bool = False, own_scale: bool = False) -> list[Detections]:
        """The faces of each image, uint8 [H,W,3], or [H,W] for models that search gray; highest score first.

        own_scale: search at the scale of the image only, which finds large and small faces together
        enlarged: search at twice the scale of the image, for faces of half the size
        """

    def landmarks(self, rgb: NDArray[np.uint8], boxes_px: NDArray[np.float32]) -> Landmarks:
        """Landmarks of the face at `boxes_px` float32 [T,4] in each frame of uint8 [T,H,W,3]; NaN for NaN boxes."""

    @classmethod
    def provenance(cls, options: ModelOptions) -> dict[str, str]:
        """Versions and hashes that decide the landmarks, without loading the model."""


@functools.cache
def load(name: str, options: ModelOptions = _DEFAULT) -> FaceModel | None:
    """The model `name`, loaded once per process; None for `none`. Raises ConfigError if its files are missing."""
    if name == "none":
        return None
    model: FaceModel = _model_class(name)(options)
    return model


def provenance(name: str, options: ModelOptions = _DEFAULT) -> dict[str, str]:
    """Versions and hashes that decide the landmarks of the model `name`. Raises ConfigError if files are missing."""
    found: dict[str, str] = {} if name == "none" else _model_class(name).provenance(options)
    return found


def _model_class(name: str) -> Any:
    module, _, attribute = MODELS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def resolve(choice: str) -> tuple[str, str]:
    """The model selected by `--landmarks choice` on this machine, and the reason for the log and the dataset.

    Raises:
        ConfigError: the model cannot run on this machine; the message names the packages to install
    """
    if choice == "auto":
        return _automatic()
    if choice in ON_TORCH:
        _require_face_alignment(choice)
    return choice, "requested"


def _automatic() -> tuple[str, str]:
    if not _cuda_device():
        return "dlib", "no CUDA device"
    _require_face_alignment("fan")
    return "fan", "CUDA device available"


def _cuda_device() -> bool:
    """Whether torch sees a CUDA device; torch is only imported if the driver's device file exists."""
    if not Path("/dev/nvidiactl").exists():
        return False
    import torch

    return torch.cuda.is_available()


def _require_face_alignment(choice: str) -> None:
    try:
        importlib.import_module("face_alignment")
    except ImportError as error:
        raise ConfigError(
            f"--landmarks {choice} requires face-alignment and OpenCV, which cannot be imported ({error}): "
            "pip install face-alignment, and on Debian: apt install libgl1 libglib2.0-0"
        ) from error
