"""Which of the faces of each frame is the clip's: one path through the detections of the sampled frames."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from schemas.records import FaceTrack
from transforms.extract.detect import Detections, iou


def centred_box(size: int) -> NDArray[np.float32]:
    """Where the face stands in a crop made around it: the middle half of a [size,size] image, float32 [4]."""
    return np.array([0.25, 0.25, 0.75, 0.75], np.float32) * size - 0.5


def track(detections: list[Detections], expected_px: NDArray[np.float32]) -> FaceTrack:
    """The path that overlaps most with `expected_px` float32 [4] and from frame to frame.

    Choosing the best face of each frame by itself would jump between two people; the path is found by dynamic
    programming (Viterbi), so that a frame with an odd best face does not pull the identity over. Frames without any face
    are bridged and stay NaN.
    """
    count = len(detections)
    boxes = np.full((count, 4), np.nan, np.float32)
    scores = np.full(count, np.nan, np.float32)
    for frame, face in _best_path(detections, expected_px).items():
        boxes[frame] = detections[frame].boxes_px[face]
        scores[frame] = detections[frame].scores[face]
    return FaceTrack(boxes, scores, np.array([len(found) for found in detections], np.int32))


def _best_path(detections: list[Detections], expected_px: NDArray[np.float32]) -> dict[int, int]:
    """frame -> face for every frame with a face."""
    frames = [number for number, found in enumerate(detections) if len(found)]
    if not frames:
        return {}
    total = iou(detections[frames[0]].boxes_px, expected_px[None])[:, 0]
    came_from = []
    for before, now in pairwise(frames):
        steps = total[:, None] + iou(detections[before].boxes_px, detections[now].boxes_px)
        came_from.append(steps.argmax(axis=0))
        total = steps.max(axis=0) + iou(detections[now].boxes_px, expected_px[None])[:, 0]
    face = int(total.argmax())
    path = {frames[-1]: face}
    for before, choices in zip(frames[-2::-1], reversed(came_from), strict=True):
        face = int(choices[face])
        path[before] = face
    return path
