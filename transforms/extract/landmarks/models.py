"""The seam of face models, and which one a build uses.

A model is added by one line in `MODELS`. Models are loaded once a process, on first use, since a worker builds many shards.
"""

import functools
import importlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.records import Landmarks
from motionshards.transforms.extract.detect import Detections, Pictures
from motionshards.transforms.extract.landmarks.options import ModelOptions

MODELS = {
    "dlib": "motionshards.transforms.extract.landmarks.dlib68:Dlib68",
    "fan": "motionshards.transforms.extract.landmarks.fan.model:Fan",
    "fan3d": "motionshards.transforms.extract.landmarks.fan.model:Fan3d",
}
ON_TORCH = ("fan", "fan3d")
CHOICES = ("auto", *MODELS, "none")
_USUAL = ModelOptions()


class FaceModel(Protocol):
    """Finds faces and their landmarks in the frames of any number of clips.

    batch_frames: how many frames it wants at once; 1 for models that work frame by frame
    least_face_px: smaller faces are not found at a picture's own scale
    searches_grey: whether it searches grey pictures; then color is only converted
    """

    batch_frames: int
    least_face_px: float
    searches_grey: bool

    def detect(self, pictures: Pictures, *, enlarged: bool = False, own_scale: bool = False) -> list[Detections]:
        """The faces of each picture, uint8 [H,W,3], or [H,W] where grey is searched; best first.

        own_scale: search at the picture's own scale only, where large and small faces are found together
        enlarged: search at twice the picture's scale, for faces of half the size
        """

    def landmarks(self, rgb: NDArray[np.uint8], boxes_px: NDArray[np.float32]) -> Landmarks:
        """Landmarks of the face at `boxes_px` float32 [T,4] in each frame; NaN boxes give NaN points."""

    @classmethod
    def provenance(cls, options: ModelOptions) -> dict[str, str]:
        """Versions and hashes that decide the landmarks, without loading the model."""


@functools.cache
def load(name: str, options: ModelOptions = _USUAL) -> FaceModel | None:
    """The model called `name` in this process; None for `none`. Raises ConfigError where its files are missing."""
    if name == "none":
        return None
    model: FaceModel = _model_class(name)(options)
    return model


def provenance(name: str, options: ModelOptions = _USUAL) -> dict[str, str]:
    """Versions and hashes that decide the landmarks of the model called `name`. Raises ConfigError where files are missing."""
    found: dict[str, str] = {} if name == "none" else _model_class(name).provenance(options)
    return found


def _model_class(name: str) -> Any:
    module, _, attribute = MODELS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def resolve(choice: str) -> tuple[str, str]:
    """The model that `--landmarks choice` means here, and why, for the user and the record.

    Raises:
        ConfigError: the model cannot run here; the message says what to install
    """
    if choice == "auto":
        return _automatic()
    if choice in ON_TORCH:
        _require_face_alignment(choice)
    return choice, "asked for"


def _automatic() -> tuple[str, str]:
    if not _cuda_device():
        return "dlib", "no CUDA device"
    _require_face_alignment("fan")
    return "fan", "a CUDA device is there"


def _cuda_device() -> bool:
    """Whether torch sees a CUDA device; torch is only imported where a driver's device file makes it likely."""
    if not Path("/dev/nvidiactl").exists():
        return False
    import torch

    return torch.cuda.is_available()


def _require_face_alignment(choice: str) -> None:
    try:
        importlib.import_module("face_alignment")
    except ImportError as error:
        raise ConfigError(
            f"--landmarks {choice} needs face-alignment and OpenCV, which do not import here ({error}); "
            "pip install face-alignment, and on Debian: apt install libgl1 libglib2.0-0"
        ) from error
