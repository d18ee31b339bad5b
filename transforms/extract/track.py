"""Selects the clip's face in each frame: the best path through the detections of the sampled frames."""

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.records import FaceTrack
from motionshards.transforms.extract.detect import Detections, iou

# The crop was made around the face, so the position of a face is stronger evidence than its continuity.
POSITION_WEIGHT = 3.0
# Below the overlap between steps of one face, above the accidental overlap with a bystander's box.
FRAME_PENALTY = 0.1


def centered_box(size: int) -> NDArray[np.float32]:
    """Expected position of the face in a crop made around it: the middle half of a [size,size] image, float32 [4]."""
    return np.array([0.25, 0.25, 0.75, 0.75], np.float32) * size - 0.5


def track(detections: list[Detections], expected_px: NDArray[np.float32]) -> FaceTrack:
    """The path through the faces of all frames that overlaps most with `expected_px`, float32 [4], and with itself.

    Selecting the best face per frame would jump between two people. Here the score of a face is `POSITION_WEIGHT` times its
    overlap with the expected position plus its overlap with the previous face of the path, minus `FRAME_PENALTY`. Frames that
    would lower the sum, for example with only a bystander, are NaN, as are frames without a face.
    """
    count = len(detections)
    boxes = np.full((count, 4), np.nan, np.float32)
    scores = np.full(count, np.nan, np.float32)
    for frame, face in _best_path(detections, expected_px):
        boxes[frame] = detections[frame].boxes_px[face]
        scores[frame] = detections[frame].scores[face]
    return FaceTrack(boxes, scores, np.array([len(found) for found in detections], np.int32))


def _best_path(detections: list[Detections], expected_px: NDArray[np.float32]) -> list[tuple[int, int]]:
    """(frame, face) along the best path, last frame first; at least one entry if any face was detected.

    Dynamic programming over all faces in time order: the value of the best path ending at a face is the value of the face plus,
    if positive, the value of the best path ending at a face of an earlier frame and their overlap.
    """
    faces = [(frame, face) for frame, found in enumerate(detections) for face in range(len(found))]
    if not faces:
        return []
    frames = np.array([frame for frame, _ in faces])
    boxes = np.concatenate([found.boxes_px for found in detections])
    value = POSITION_WEIGHT * iou(boxes, expected_px[None])[:, 0] - FRAME_PENALTY
    previous = np.full(len(faces), -1)
    for face in range(len(faces)):
        earlier = int(np.searchsorted(frames, frames[face]))
        gains = value[:earlier] + iou(boxes[:earlier], boxes[face : face + 1])[:, 0]
        if earlier and gains.max() > 0:
            previous[face] = gains.argmax()
            value[face] += gains.max()
    path = [int(value.argmax())]
    while previous[path[-1]] >= 0:
        path.append(int(previous[path[-1]]))
    return [faces[face] for face in path]
