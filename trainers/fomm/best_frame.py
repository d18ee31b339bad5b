"""The frame of a driving video in which the face looks most as in the source: a good one to count movement from.

The published code then animates forward and backward from that frame and joins the two. A frame is made from its own keypoints
and those of the frame that is counted from, and from no other, so going through the video in order gives the same. What is
found here is a number: the video is read twice, and nothing of it is kept.
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
from motionshards.trainers.video import Picture
from motionshards.transforms.extract.landmarks.models import FaceModel

logger = logging.getLogger("motionshards")


@dataclass(frozen=True, slots=True)
class Best:
    """The frame that was found.

    distance: mean squared distance of its landmarks from the source's, both of faces of hull area 1
    without_face: how many frames have no face and were passed over
    """

    frame: int
    picture: Picture
    distance: float
    without_face: int


def find_best_frame(source: Picture, frames: Iterable[Picture], model: FaceModel) -> Best:
    """The first of the frames whose face is nearest to that of `source`. Frames without a face are passed over and counted.

    Raises:
        ConfigError: there is no face in `source`, or in none of the frames
    """
    wanted = face_shape(source, model)
    if wanted is None:
        raise ConfigError("no face was found in the source, with which the faces of the driving video are compared")
    best: Best | None = None
    without = number = 0
    for number, frame in enumerate(frames):
        shape = face_shape(frame, model)
        if shape is None:
            without += 1
            continue
        distance = float(np.square(shape - wanted).sum(axis=1).mean())
        if best is None or distance < best.distance:
            best = Best(number, frame.copy(), distance, 0)
    if best is None:
        raise ConfigError(f"no face was found in any of the {number + 1} frames of the driving video")
    if without:
        logger.warning("skipped %d of %d frames without a face in the search for the best frame", without, number + 1)
    return Best(best.frame, best.picture, best.distance, without)


def face_shape(picture: Picture, model: FaceModel) -> NDArray[np.float64] | None:
    """[68,2], landmarks of the best face of uint8 [H,W,3] about their mean, of a face of hull area 1; None: there is none.

    They are those of the picture squeezed into a square, which is how the networks see it.
    """
    found = find_landmarks(picture, model)
    if found is None:
        return None
    points = found.astype(np.float64) / (picture.shape[1], picture.shape[0])
    area = float(hull_areas(torch.from_numpy(points)[None])[0])
    if not area:
        return None
    shape: NDArray[np.float64] = (points - points.mean(axis=0)) / np.sqrt(area)
    return shape
