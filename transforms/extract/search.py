"""Face detection in consecutive frames.

A face moves by a fraction of its size between frames. Models that work frame by frame therefore search the whole image only
occasionally, and otherwise the surroundings of the faces in the previous frame, scaled so that the face is slightly larger than
the smallest one that the model finds: the cost hardly depends on the size of the image or the face.

Images are uint8 [H,W,3], or [H,W] for models that search gray.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motionshards.transforms.extract.detect import Detections, iou

Pixels = NDArray[np.uint8]
Detect = Callable[[Sequence[Pixels]], list[Detections]]
"""The faces of each of several images."""

# On 1,400 frames of seven videos, these values find every face that a search of the whole image finds.
_AROUND = 0.6  # margin on each side, relative to the side of the face
_OVER_MIN = 1.125  # side of the face in the scaled surroundings, relative to the smallest detectable one
_SAME = 0.5  # boxes that overlap by at least this are one face, found in the surroundings of two
_MAX_AT_ONCE = 16

MAX_ENLARGED_SEARCHES = 3
"""How many frames of a clip without a face are searched enlarged, to distinguish small faces from none: it is slow."""
MAX_ENLARGED_PX = 1920 * 1080
"""Images with more pixels are not enlarged."""


def search_batches(images: Iterable[Pixels], detect: Detect, batch_frames: int) -> Iterator[Detections]:
    """The faces of each image, searched as a whole in batches of `batch_frames` images."""
    waiting = iter(images)
    while batch := list(islice(waiting, min(batch_frames, _MAX_AT_ONCE))):
        yield from detect(batch)


def search_around(images: Iterable[Pixels], detect: Detect, least_px: float, interval: int) -> Iterator[Detections]:
    """The faces of each image, searched around those of the previous image.

    The whole image is searched if there were none, if one of them is lost, and at least in every `interval`-th image, to find
    new faces.

    least_px: the smallest face that `detect` finds
    """
    known, since = _joined([]), interval
    for image in images:
        found = known
        if 0 < len(known) * _area_px(least_px) < image.shape[0] * image.shape[1] and since + 1 < interval:
            found, since = _near(image, known, detect, least_px), since + 1
        if found is known or len(found) < len(known):
            found, since = detect([image])[0], 0
        known = found
        yield found


def _area_px(least_px: float) -> float:
    return ((1 + 2 * _AROUND) * _OVER_MIN * least_px) ** 2


def _near(image: Pixels, known: Detections, detect: Detect, least_px: float) -> Detections:
    """The faces in the surroundings of known ones."""
    return _joined([_in_window(image, *_surroundings(box, image.shape, least_px), detect) for box in known.boxes_px])


def _surroundings(box: NDArray[np.float32], shape: tuple[int, ...], least_px: float) -> tuple[NDArray[np.int64], float]:
    """A window x0 y0 x1 y1 (end exclusive) within the image, and the scale at which it is searched."""
    side = float((box[2:] - box[:2]).max())
    low, high = box[:2] - _AROUND * side, box[2:] + _AROUND * side + 1
    window = np.concatenate([low, high]).round().astype(np.int64).clip(0, [shape[1], shape[0]] * 2)
    return window, min(1.0, _OVER_MIN * least_px / side)


def _in_window(image: Pixels, window: NDArray[np.int64], scale: float, detect: Detect) -> Detections:
    x0, y0, x1, y1 = window.tolist()
    part = image[y0:y1, x0:x1]
    if scale < 1:
        small_px = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        part = np.asarray(Image.fromarray(part).resize(small_px, Image.Resampling.BOX))
    (found,) = detect([part])
    steps = np.array([(x1 - x0) / part.shape[1], (y1 - y0) / part.shape[0]] * 2)
    boxes = (found.boxes_px + 0.5) * steps + [x0, y0, x0, y0] - 0.5
    return Detections(boxes.astype(np.float32), found.scores)


def _joined(parts: list[Detections]) -> Detections:
    """Merge several detections of one image, highest score first, without duplicates."""
    boxes = np.concatenate([np.empty((0, 4), np.float32), *(part.boxes_px for part in parts)])
    scores = np.concatenate([np.empty(0, np.float32), *(part.scores for part in parts)])
    kept: list[int] = []
    for number in np.argsort(-scores, kind="stable").tolist():
        if (iou(boxes[[number]], boxes[kept]) < _SAME).all():
            kept.append(number)
    return Detections(boxes[kept], scores[kept])
