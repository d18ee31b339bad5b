"""Detectors for FAN: S3FD in batches, and the other detectors of face-alignment, image by image."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from motionshards.schemas.errors import ConfigError
from motionshards.transforms.extract.detect import Detections
from motionshards.transforms.extract.landmarks.fan import sfd, weights
from motionshards.transforms.extract.landmarks.options import ModelOptions

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_REFERENCE = 195.0


class Detector(Protocol):
    """Finds faces.

    reference: width + height of a box for which FAN's crop is 200 px wide; compensates for how tight its boxes are
    """

    reference: float

    def __call__(self, images: Tensor) -> list[Detections]:
        """The faces of uint8 [B,3,H,W], highest score first; boxes in pixel centers."""


def make(options: ModelOptions, device: torch.device) -> Detector:
    """The detector selected by the options. Raises ConfigError if its weights or packages are missing."""
    return _Sfd(options, device) if options.detector == "sfd" else _Library(options.detector, device)


class _Sfd:
    reference = _REFERENCE

    def __init__(self, options: ModelOptions, device: torch.device) -> None:
        self._network = weights.load("sfd", options.weights, device)
        self._dtype = AUTOCAST[options.precision]

    def __call__(self, images: Tensor) -> list[Detections]:
        with torch.autocast(images.device.type, self._dtype, enabled=self._dtype is not None):
            return sfd.detect(self._network, images)


class _Library:
    """A detector of face-alignment. The process-wide flags that it sets are restored."""

    def __init__(self, name: str, device: torch.device) -> None:
        try:
            with _process_as_it_was():
                self._detector: Any = importlib.import_module(f"face_alignment.detection.{name}").FaceDetector(str(device))
        except (ImportError, OSError) as error:
            raise ConfigError(f"--detector {name} cannot be used: {error}. The default is --detector sfd.") from error
        self.reference = float(self._detector.reference_scale)

    def __call__(self, images: Tensor) -> list[Detections]:
        with _process_as_it_was():
            found = [self._detector.detect_from_image(image.permute(1, 2, 0).cpu().numpy()) for image in images]
        return [_detections(boxes) for boxes in found]


def _detections(boxes: Any) -> Detections:
    """Convert rows x0 y0 x1 y1 score, in pixel edges."""
    rows = np.array([row for row in boxes if len(row)], np.float32).reshape(-1, 5)
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    return Detections(rows[:, :4] - np.float32(0.5), rows[:, 4])


@contextlib.contextmanager
def _process_as_it_was() -> Iterator[None]:
    """Restore gradient mode, random states, cuDNN flags and the default dtype on exit, whatever a library does in between."""
    cudnn = torch.backends.cudnn
    flags = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
    gradients, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = flags
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(dtype)
