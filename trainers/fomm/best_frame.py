"""Finds the driving frame whose face is most similar to that of the source, as the reference of relative motion.

The published code animates forward and backward from this frame and joins the results. Each output frame depends only on
its own keypoints and those of the reference frame, so processing the video in order is equivalent. The video is read twice, and
not kept in memory.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.faces import find_landmarks
from motionshards.trainers.fomm.normalize import hull_areas
from motionshards.trainers.video import Rgb
from motionshards.transforms.extract.landmarks.models import FaceModel

logger = logging.getLogger("motionshards")


@dataclass(frozen=True, slots=True)
class BestFrame:
    """The reference frame.

    distance: mean squared distance of its landmarks from those of the source, both scaled to hull area 1
    without_face: number of frames that were skipped because they have no face
    """

    frame: int
    image: Rgb
    distance: float
    without_face: int


def find_best_frame(source: Rgb, frames: Iterable[Rgb], model: FaceModel) -> BestFrame:
    """Return the first of the frames whose face is most similar to that of `source`. Frames without a face are skipped.

    Raises:
        ConfigError: there is no face in `source`, or in any of the frames
    """
    expected = face_shape(source, model)
    if expected is None:
        raise ConfigError("no face was found in the source, with which the faces of the driving video are compared")
    best: BestFrame | None = None
    without = number = 0
    for number, frame in enumerate(frames):
        shape = face_shape(frame, model)
        if shape is None:
            without += 1
            continue
        distance = float(np.square(shape - expected).sum(axis=1).mean())
        if best is None or distance < best.distance:
            best = BestFrame(number, frame.copy(), distance, 0)
    if best is None:
        raise ConfigError(f"no face was found in any of the {number + 1} frames of the driving video")
    if without:
        logger.warning("skipped %d of %d frames without a face in the search for the best frame", without, number + 1)
    return BestFrame(best.frame, best.image, best.distance, without)


def face_shape(image: Rgb, model: FaceModel) -> NDArray[np.float64] | None:
    """Return the landmarks [68,2] of the most confident face in uint8 [H,W,3], centered and scaled to hull area 1, or None.

    They are landmarks of the image scaled to a square, as in the input of the networks.
    """
    found = find_landmarks(image, model)
    if found is None:
        return None
    points = found.astype(np.float64) / (image.shape[1], image.shape[0])
    area = float(hull_areas(torch.from_numpy(points)[None])[0])
    if not area:
        return None
    shape: NDArray[np.float64] = (points - points.mean(axis=0)) / np.sqrt(area)
    return shape
