"""Frames of a person with landmarks, from users' images and videos."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.faces import face_window, find_landmarks, to_window
from motionshards.trainers.images import BACKGROUND, read_image
from motionshards.trainers.talking_heads.episodes import Targets, draw
from motionshards.trainers.video import Driving, Rgb, cut_window
from motionshards.transforms.extract.crop import Window
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.models import FaceModel

logger = logging.getLogger("motionshards")

CROPS = ("face", "none")
LANDMARKS = ("dlib", "fan")
_PROBES = 16

Points = NDArray[np.float32]
"""[68,2], x y in pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Portraits:
    """T frames of one person.

    images: uint8 [T,size,size,3]
    landmarks_px: float32 [T,68,2], in pixels of `images`
    """

    images: NDArray[np.uint8]
    landmarks_px: NDArray[np.float32]

    def targets(self, device: torch.device) -> Targets:
        """Return the frames and their landmark images as targets, all of video 0."""
        frames = torch.from_numpy(self.images).to(device).permute(0, 3, 1, 2).float() / 255
        landmarks = draw(torch.from_numpy(self.landmarks_px).to(device), frames.shape[-1])
        count = len(frames)
        video = torch.zeros(count, dtype=torch.int64, device=device)
        return Targets(frames=frames, landmarks=landmarks, video=video, counts=torch.ones(count, device=device))


def face_model(choice: str) -> FaceModel:
    """Load a model of `LANDMARKS`. Raises ConfigError: it cannot run here."""
    model = models.load(models.resolve(choice)[0])
    assert model is not None
    return model


def of_images(paths: Sequence[Path], model: FaceModel, size_px: int, crop: str, background: str = BACKGROUND) -> Portraits:
    """Crop the face of each image, or scale the whole image with crop "none". Raises ConfigError: none has a face."""
    found = []
    for path in paths:
        image = read_image(path, background)
        points = find_landmarks(image, model)
        if points is not None:
            found.append((image, points, _whole(image) if crop == "none" else face_window(points, _size_px_of(image))))
    return _portraits(found, len(paths), size_px)


def of_video(video: Driving, count: int, model: FaceModel, size_px: int, crop: str) -> Portraits:
    """Crop `count` evenly spaced frames of a video with one window around the face in all of them, or scale whole frames.

    Raises:
        ConfigError: no face is found in any of these frames
    """
    frames = list(evenly_spaced_frames(video, count))
    points = [find_landmarks(frame, model) for frame in frames]
    window = _shared_window([one for one in points if one is not None], frames[0], crop)
    found = [(frame, one, window) for frame, one in zip(frames, points, strict=True) if one is not None]
    return _portraits(found, len(frames), size_px)


class Poses:
    """The landmarks of a driving video, in one window around the faces of evenly spaced frames, or in whole frames.

    probes_px: float32 [N,68,2], landmarks of these frames in pixels of the window scaled to `size_px`
    without_face: number of frames so far without a face

    Raises:
        ConfigError: none of the evenly spaced frames has a face
    """

    def __init__(self, video: Driving, model: FaceModel, size_px: int, crop: str) -> None:
        self._video, self._model, self._size_px = video, model, size_px
        frames = list(evenly_spaced_frames(video, _PROBES))
        points = [one for one in (find_landmarks(frame, model) for frame in frames) if one is not None]
        self._window = _shared_window(points, frames[0], crop)
        self.probes_px = self._to_window(np.stack(points))
        self.without_face = 0

    def landmarks(self, requested: Iterable[bool]) -> Iterator[Points]:
        """Yield the landmarks of the requested frames in pixels of the scaled window; frames without a face repeat the last ones.

        Frames before the first face receive its landmarks. Raises ConfigError: no frame has a face.
        """
        last: Points | None = None
        waiting = 0
        for frame in compress(self._video.whole_frames(), requested):
            found = find_landmarks(frame, self._model)
            self.without_face += found is None
            last, waiting = last if found is None else self._to_window(found), waiting + 1
            if last is not None:
                yield from [last] * waiting
                waiting = 0
        if waiting:
            raise ConfigError(f"{self._video.path}: no face was found in any frame")

    def _to_window(self, points_px: Points) -> Points:
        return to_window(points_px, self._window, self._size_px)


def evenly_spaced_frames(video: Driving, count: int) -> Iterator[Rgb]:
    """Yield `count` evenly spaced whole frames of a video, or all if it has fewer."""
    requested = {*np.linspace(0, len(video) - 1, min(count, len(video))).round().astype(int).tolist()}
    return compress(video.whole_frames(), (number in requested for number in range(len(video))))


def _shared_window(points: list[Points], image: Rgb, crop: str) -> Window:
    """Return one window for the faces of a video's frames, all of the size of `image`. Raises ConfigError: no faces."""
    if not points:
        raise ConfigError("no face was found in any of the sampled frames")
    return _whole(image) if crop == "none" else face_window(np.stack(points), _size_px_of(image))


def _portraits(found: list[tuple[Rgb, Points, Window]], count: int, size_px: int) -> Portraits:
    if not found:
        raise ConfigError("no face was found in any of the images")
    if len(found) < count:
        logger.warning("skipped %d of %d images without a face", count - len(found), count)
    images = np.stack([cut_window(image, window, size_px) for image, _, window in found])
    return Portraits(images=images, landmarks_px=np.stack([to_window(points, window, size_px) for _, points, window in found]))


def _whole(image: Rgb) -> Window:
    width, height = _size_px_of(image)
    return 0, 0, width, height


def _size_px_of(image: Rgb) -> tuple[int, int]:
    return image.shape[1], image.shape[0]
