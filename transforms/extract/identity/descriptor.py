"""dlib's face descriptor, a ResNet with 29 convolutions, on the CPU and without a download.

King, "Dlib-ml: A machine learning toolkit", JMLR 2009; the weights, trained on three million faces, are in the public domain
(CC0). Descriptors are not normalized and are compared by Euclidean distance; dlib's threshold for the same person is 0.6.
"""

import functools
import hashlib

import dlib
import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.layout import IDENTITY_NUMBERS
from motionshards.transforms.extract.landmarks.dlib68 import data_file

_DATA = "dlib_face_recognition_resnet_model_v1.dat"
_CHIP_PX, _CHIP_PADDING = 150, 0.25  # as the network was trained
_DIGITS = 4  # rounding hides most differences in the order in which processors add floats


def descriptors(rgb: NDArray[np.uint8], points_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """The descriptors of faces, float32 [n,128]; 60 to 100 ms each.

    rgb: uint8 [n,H,W,3]
    points_px: float32 [n,68,2], finite landmarks of the face in each frame, iBUG 300-W order

    Raises:
        ConfigError: the model's file is missing
    """
    found = np.empty((len(rgb), IDENTITY_NUMBERS), np.float32)
    for number, (frame, points) in enumerate(zip(rgb, points_px, strict=True)):
        face = dlib.full_object_detection(dlib.rectangle(), [dlib.point(*map(round, point)) for point in points.tolist()])
        chip = dlib.get_face_chip(np.ascontiguousarray(frame), face, size=_CHIP_PX, padding=_CHIP_PADDING)
        found[number] = _network().compute_face_descriptor(chip)
    return found.round(_DIGITS)


def provenance() -> dict[str, str]:
    """The version of dlib and the hash of the network's file. Raises ConfigError: the file is missing."""
    with data_file(_DATA).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"identity_model": f"dlib {dlib.__version__} {_DATA} sha256:{digest}"}


@functools.cache
def _network() -> "dlib.face_recognition_model_v1":
    return dlib.face_recognition_model_v1(str(data_file(_DATA)))
