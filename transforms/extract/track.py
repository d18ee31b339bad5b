"""Which of the faces of each frame is the clip's: one path through the detections of the sampled frames."""

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.records import FaceTrack
from motionshards.transforms.extract.detect import Detections, iou

# The crop was made around the face, so where a face stands says more than how still it holds.
PULL = 3.0
# Less than any real step of a face, more than the chance touch of a bystander's box.
TOLL = 0.1


def centred_box(size: int) -> NDArray[np.float32]:
    """Where the face stands in a crop made around it: the middle half of a [size,size] image, float32 [4]."""
    return np.array([0.25, 0.25, 0.75, 0.75], np.float32) * size - 0.5


def track(detections: list[Detections], expected_px: NDArray[np.float32]) -> FaceTrack:
    """The path through the faces of all frames that overlaps most with `expected_px` float32 [4] and with itself.

    Choosing the best face of each frame by itself would jump between two people. Here a frame's face earns `PULL` times its
    overlap with where the face is expected, its overlap with the face chosen before it, less `TOLL`; a frame that would
    lower the sum, as one in which only a bystander was seen does, stays NaN, as do frames without any face.
    """
    count = len(detections)
    boxes = np.full((count, 4), np.nan, np.float32)
    scores = np.full(count, np.nan, np.float32)
    for frame, face in _best_path(detections, expected_px):
        boxes[frame] = detections[frame].boxes_px[face]
        scores[frame] = detections[frame].scores[face]
    return FaceTrack(boxes, scores, np.array([len(found) for found in detections], np.int32))


def _best_path(detections: list[Detections], expected_px: NDArray[np.float32]) -> list[tuple[int, int]]:
    """(frame, face) along the best path, last frame first; at least one where any face was seen.

    Dynamic programming over all faces in time order: the best path that ends at a face is its own worth and, where that
    adds to it, the best path that ends at a face of an earlier frame and their overlap.
    """
    faces = [(frame, face) for frame, found in enumerate(detections) for face in range(len(found))]
    if not faces:
        return []
    frames = np.array([frame for frame, _ in faces])
    boxes = np.concatenate([found.boxes_px for found in detections])
    worth = PULL * iou(boxes, expected_px[None])[:, 0] - TOLL
    came_from = np.full(len(faces), -1)
    for face in range(len(faces)):
        earlier = int(np.searchsorted(frames, frames[face]))
        gains = worth[:earlier] + iou(boxes[:earlier], boxes[face : face + 1])[:, 0]
        if earlier and gains.max() > 0:
            came_from[face] = gains.argmax()
            worth[face] += gains.max()
    path = [int(worth.argmax())]
    while came_from[path[-1]] >= 0:
        path.append(int(came_from[path[-1]]))
    return [faces[face] for face in path]
