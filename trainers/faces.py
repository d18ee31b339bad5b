"""Faces in users' images: detection, cropping as in VoxCeleb, and pasting back.

Windows are integer pixels of the image, x0 y0 x1 y1 with exclusive ends, as in `transforms.extract.crop`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.frames import SearchImage
from motionshards.trainers.video import Rgb, cut_window
from motionshards.transforms.extract.crop import Window, square_window
from motionshards.transforms.extract.landmarks.models import FaceModel

# Bounding box of the 68 landmarks in frames of VoxCeleb2, as medians over frames: its longer side, and the height of its center,
# as fractions of the frame's side.
_EXTENT = 0.616
_MIDDLE = 0.578
MAX_SEARCHED_PX = 4_000_000  # largest image searched for small faces; dlib takes about 0.3 s per million
_FEATHER = 0.08  # fraction of the window over which a face is blended with the image


@dataclass(frozen=True, slots=True)
class Face:
    """A cropped face.

    image: uint8 [size,size,3]
    landmarks_px: float32 [68,2], x y in pixels of `image`
    window: window of the crop in the original image
    """

    image: Rgb
    landmarks_px: NDArray[np.float32]
    window: Window


def find_boxes(image: Rgb, model: FaceModel) -> NDArray[np.float32]:
    """Detect faces in an image uint8 [H,W,3]: boxes float32 [n,4] in descending order of confidence.

    Images with more than MAX_SEARCHED_PX are halved until they are smaller.
    """
    step = 1
    while image.shape[0] * image.shape[1] > MAX_SEARCHED_PX * step**2:
        step *= 2
    height, width = (max(1, side // step) for side in image.shape[:2])
    small = image if step == 1 else np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
    return SearchImage(small, (0, 0, image.shape[1], image.shape[0])).stored(model.detect([small])[0].boxes_px)


def find_landmarks(image: Rgb, model: FaceModel) -> NDArray[np.float32] | None:
    """Return the landmarks of the most confident face in uint8 [H,W,3], float32 [68,2]; None if no face is found."""
    boxes_px = find_boxes(image, model)
    if not len(boxes_px):
        return None
    points = model.landmarks(image[None], boxes_px[:1]).points_px[0]
    return points if np.isfinite(points).all() else None


def face_window(landmarks_px: NDArray[np.float32], size_px: tuple[int, int]) -> Window:
    """Return the square window that frames a face as in VoxCeleb2, shifted into the image if it fits.

    landmarks_px: [68,2], or [N,68,2] for one window around the faces of N images
    size_px: width and height of the image
    """
    points = landmarks_px.reshape(-1, 2).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high - low).max()) / _EXTENT
    center = (low + high) / 2 - [0, (_MIDDLE - 0.5) * side]
    return square_window(np.concatenate([center - side / 2, center + side / 2]), size_px)


def find_face(image: Rgb, model: FaceModel, size_px: int) -> Face | None:
    """Crop the most confident face of an image, scaled to `size_px`; None if no face is found."""
    points = find_landmarks(image, model)
    if points is None:
        return None
    window = face_window(points, (image.shape[1], image.shape[0]))
    return Face(cut_window(image, window, size_px), to_window(points, window, size_px), window)


def shared_window(images: Iterable[Rgb], model: FaceModel) -> Window:
    """Return one window for the face of a video, from some of its frames. Raises ConfigError: none has a face."""
    found, size = [], (0, 0)
    for image in images:
        size = (image.shape[1], image.shape[0])
        points = find_landmarks(image, model)
        if points is not None:
            found.append(points)
    if not found:
        raise ConfigError("no face was found in any of the sampled frames")
    return face_window(np.stack(found), size)


def to_window(points_px: NDArray[np.float32], window: Window, size_px: int) -> NDArray[np.float32]:
    """Map points [...,2] of an image to a window scaled to `size_px`; pixel centers are at integers."""
    low, high = np.array(window[:2]), np.array(window[2:])
    scaled: NDArray[np.float32] = ((points_px + 0.5 - low) * (size_px / (high - low)) - 0.5).astype(np.float32)
    return scaled


def paste_face(image: Rgb, face: Rgb, window: Window) -> Rgb:
    """Paste a changed face [size,size,3] into its window of an image uint8 [H,W,3], blended along the window's border.

    Parts of the window outside the image are ignored. Borders on the edge of the image are not blended.
    """
    x0, y0, x1, y1 = window
    scaled = np.asarray(Image.fromarray(face).resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC)).astype(np.float32)
    height, width = image.shape[:2]
    share = _ramp(y0, y1, height)[:, None, None] * _ramp(x0, x1, width)[None, :, None]
    rows, columns = slice(max(0, y0), min(height, y1)), slice(max(0, x0), min(width, x1))
    inside = slice(rows.start - y0, rows.stop - y0), slice(columns.start - x0, columns.stop - x0)
    result = image.copy()
    old = image[rows, columns].astype(np.float32)
    result[rows, columns] = (old + share[inside] * (scaled[inside] - old)).round().astype(np.uint8)
    return result


def _ramp(start: int, end: int, extent: int) -> NDArray[np.float32]:
    """Weights float32 [end-start]: 1, with a ramp from 0 at each end inside the image."""
    places, reach = np.arange(end - start) + 0.5, max(1.0, _FEATHER * (end - start))
    rise = np.ones(end - start)
    if start > 0:
        rise = np.minimum(rise, places / reach)
    if end < extent:
        rise = np.minimum(rise, places[::-1] / reach)
    ramp: NDArray[np.float32] = rise.astype(np.float32)
    return ramp
