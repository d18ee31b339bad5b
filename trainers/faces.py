"""Faces in pictures that users bring: found, framed as in VoxCeleb, and laid back into the picture they came from.

Windows are whole pixels of the picture, x0 y0 x1 y1 with the end exclusive, as in `transforms.extract.crop`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.frames import SearchPicture
from motionshards.trainers.video import Picture, cut_window
from motionshards.transforms.extract.crop import Window, square_window
from motionshards.transforms.extract.landmarks.models import FaceModel

# Where the 68 landmarks lie in the frames of VoxCeleb2, medians over frames of its videos: the longer side of their extent, and
# the height of its middle, both as shares of the frame's side.
_EXTENT = 0.616
_MIDDLE = 0.578
MOST_SEARCHED_PX = 4_000_000  # of a picture that is searched for small faces: some 0.3 s a million with dlib
_FEATHER = 0.08  # of a face's window, over which it fades into the picture


@dataclass(frozen=True, slots=True)
class Face:
    """A face cut out of a picture.

    picture: uint8 [size,size,3]
    landmarks_px: float32 [68,2], x y in pixels of `picture`
    window: in the picture it was cut from
    """

    picture: Picture
    landmarks_px: NDArray[np.float32]
    window: Window


def find_boxes(picture: Picture, model: FaceModel) -> NDArray[np.float32]:
    """Boxes of the faces in uint8 [H,W,3], best first, float32 [n,4].

    The picture is searched at its own size, or halved until it has at most MOST_SEARCHED_PX.
    """
    step = 1
    while picture.shape[0] * picture.shape[1] > MOST_SEARCHED_PX * step**2:
        step *= 2
    height, width = (max(1, side // step) for side in picture.shape[:2])
    small = picture if step == 1 else np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))
    return SearchPicture(small, (0, 0, picture.shape[1], picture.shape[0])).stored(model.detect([small])[0].boxes_px)


def find_landmarks(picture: Picture, model: FaceModel) -> NDArray[np.float32] | None:
    """The landmarks of the best face of uint8 [H,W,3], float32 [68,2] in its pixels; None where no face is found."""
    boxes_px = find_boxes(picture, model)
    if not len(boxes_px):
        return None
    points = model.landmarks(picture[None], boxes_px[:1]).points_px[0]
    return points if np.isfinite(points).all() else None


def face_window(landmarks_px: NDArray[np.float32], size_px: tuple[int, int]) -> Window:
    """The square in which a face lies as faces do in VoxCeleb2, shifted into the picture where it can be.

    landmarks_px: [68,2], or [N,68,2] for a window about the faces of N pictures
    size_px: width and height of the picture
    """
    points = landmarks_px.reshape(-1, 2).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high - low).max()) / _EXTENT
    centre = (low + high) / 2 - [0, (_MIDDLE - 0.5) * side]
    return square_window(np.concatenate([centre - side / 2, centre + side / 2]), size_px)


def find_face(picture: Picture, model: FaceModel, size_px: int) -> Face | None:
    """The best face of a picture, cut out and scaled to `size_px`; None where no face is found."""
    points = find_landmarks(picture, model)
    if points is None:
        return None
    window = face_window(points, (picture.shape[1], picture.shape[0]))
    return Face(cut_window(picture, window, size_px), to_window(points, window, size_px), window)


def shared_window(pictures: Iterable[Picture], model: FaceModel) -> Window:
    """One window for the face of a video, about its faces in some of its frames. Raises ConfigError: none has a face."""
    found, size = [], (0, 0)
    for picture in pictures:
        size = (picture.shape[1], picture.shape[0])
        points = find_landmarks(picture, model)
        if points is not None:
            found.append(points)
    if not found:
        raise ConfigError("no face is found in any of the frames that were looked at")
    return face_window(np.stack(found), size)


def to_window(points_px: NDArray[np.float32], window: Window, size_px: int) -> NDArray[np.float32]:
    """Points [...,2] of a picture in pixels of a window that was scaled to `size_px`; pixel centres lie at whole numbers."""
    low, high = np.array(window[:2]), np.array(window[2:])
    scaled: NDArray[np.float32] = ((points_px + 0.5 - low) * (size_px / (high - low)) - 0.5).astype(np.float32)
    return scaled


def lay_back(picture: Picture, face: Picture, window: Window) -> Picture:
    """The picture, uint8 [H,W,3], with a changed face [size,size,3] in its window, faded in over the window's rim.

    What of the window lies outside the picture is left out. At the picture's own edges nothing is faded.
    """
    x0, y0, x1, y1 = window
    scaled = np.asarray(Image.fromarray(face).resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC)).astype(np.float32)
    height, width = picture.shape[:2]
    share = _ramp(y0, y1, height)[:, None, None] * _ramp(x0, x1, width)[None, :, None]
    rows, columns = slice(max(0, y0), min(height, y1)), slice(max(0, x0), min(width, x1))
    inside = slice(rows.start - y0, rows.stop - y0), slice(columns.start - x0, columns.stop - x0)
    result = picture.copy()
    old = picture[rows, columns].astype(np.float32)
    result[rows, columns] = (old + share[inside] * (scaled[inside] - old)).round().astype(np.uint8)
    return result


def _ramp(start: int, end: int, extent: int) -> NDArray[np.float32]:
    """float32 [end-start]: 1, but rising from 0 at an end that lies inside the picture."""
    places, reach = np.arange(end - start) + 0.5, max(1.0, _FEATHER * (end - start))
    rise = np.ones(end - start)
    if start > 0:
        rise = np.minimum(rise, places / reach)
    if end < extent:
        rise = np.minimum(rise, places[::-1] / reach)
    ramp: NDArray[np.float32] = rise.astype(np.float32)
    return ramp
