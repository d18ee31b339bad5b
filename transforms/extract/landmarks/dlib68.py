"""The embedded default: dlib's HOG face detector and its 68-point regression trees, on the CPU, without a download.

Detector: King, "Max-margin object detection", 2015. Landmarks: Kazemi and Sullivan, "One millisecond face alignment with
an ensemble of regression trees", CVPR 2014; trained on iBUG 300-W, whose license allows research use only.
"""

import functools
import hashlib
import importlib.util
from itertools import count, takewhile
from pathlib import Path

import dlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.records import Landmarks
from motionshards.transforms.extract.detect import Detections, Images
from motionshards.transforms.extract.landmarks.options import ModelOptions

_DATA = "shape_predictor_68_face_landmarks.dat"
# A face of half this width fills the detector's window of 80 px. At coarser scales landmarks suffer: boxes move in steps of 8 px.
_COARSEST_PX = 160
# Scales closer than this factor find the same faces.
_STEP = 1.25
# A face that just fills the window at a coarse scale has a box up to 1.6 times too large, and a score below this.
_SURE = 0.5
# Smaller images are also searched enlarged: all their faces may be smaller than the window.
_SMALL_PX = 192
_LUMA = np.array([77, 150, 29], np.uint16)  # of 256: ITU-R BT.601
# The box of the second run is shifted to the left by this fraction of its width.
_SHIFT = 0.08
_NOTHING = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))


def data_file(name: str = _DATA) -> Path:
    """Path of a model in the face_recognition_models wheel, which is not imported because its __init__ needs pkg_resources."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "--landmarks dlib and face descriptors need the models of another package: pip install face_recognition_models"
        )
    return Path(spec.submodule_search_locations[0]) / "models" / name


class Dlib68:
    """dlib's detector and predictor; landmarks are whole pixels, as returned by dlib.

    The predictor has no confidence and places a plausible face wherever it starts. It therefore runs a second time with the box
    shifted: landmarks that fit the image stay (score 1), those that follow the box move as far as the box (score 0).
    """

    batch_frames = 1
    least_face_px = 80.0
    searches_gray = True

    def __init__(self, options: ModelOptions) -> None:
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(data_file()))

    def detect(self, images: Images, *, enlarged: bool = False, own_scale: bool = False) -> list[Detections]:
        """The faces of each image, uint8 [H,W,3] or gray [H,W], highest score first.

        An image is searched from coarse to fine, doubling the scale, until a face has a score of at least 0.5: the finest scale
        takes most of the time, and most faces are large. Only faces of one scale are therefore found together.
        """
        search = self._run if own_scale else functools.partial(self._detect_one, enlarged=enlarged)
        return [search(_gray(image)) for image in images]

    def _detect_one(self, gray: NDArray[np.uint8], enlarged: bool) -> Detections:
        small = max(gray.shape) < _SMALL_PX
        best = _NOTHING
        for shorter_px in [] if enlarged else _searched_px(min(gray.shape)):
            found = self._at(gray, shorter_px)
            best = found if len(found) else best
            if len(found) and found.scores[0] >= _SURE:
                break
        return self._run(gray, small + enlarged) if enlarged or (small and not len(best)) else best

    def _at(self, gray: NDArray[np.uint8], shorter_px: int) -> Detections:
        """The faces of the image scaled to `shorter_px` on its shorter side."""
        height, width = gray.shape
        if shorter_px == min(gray.shape):
            return self._run(gray)
        size = round(width * shorter_px / min(gray.shape)), round(height * shorter_px / min(gray.shape))
        found = self._run(np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.BOX)))
        scale = np.array([width / size[0], height / size[1]] * 2, np.float32)
        return Detections((found.boxes_px + np.float32(0.5)) * scale - np.float32(0.5), found.scores)

    def _run(self, gray: NDArray[np.uint8], octaves: int = 0) -> Detections:
        """The faces at the scale of the image, or enlarged by this many octaves."""
        rectangles, scores, _ = self._detector.run(gray, octaves, 0.0)
        boxes = np.array([(r.left(), r.top(), r.right(), r.bottom()) for r in rectangles], np.float32).reshape(-1, 4)
        order = np.argsort(-np.array(scores), kind="stable")
        return Detections(boxes[order], np.array(scores, np.float32)[order])

    def landmarks(self, rgb: NDArray[np.uint8], boxes_px: NDArray[np.float32]) -> Landmarks:
        """Landmarks of the face at boxes_px [T,4] in each frame of uint8 [T,H,W,3]; NaN and score 0 for NaN boxes."""
        points = np.full((len(rgb), 68, 2), np.nan, np.float32)
        scores = np.zeros((len(rgb), 68), np.float32)
        for number, (frame, box) in enumerate(zip(rgb, boxes_px, strict=True)):
            if not np.isnan(box).any():
                left, top, right, bottom = (round(float(side)) for side in box)
                shift = max(1, round(_SHIFT * (right - left)))
                points[number] = found = self._points(frame, left, top, right, bottom)
                moved = np.linalg.norm(self._points(frame, left - shift, top, right - shift, bottom) - found, axis=1)
                scores[number] = (1 - moved / shift).clip(min=0)
        return Landmarks(points, scores)

    def _points(self, frame: NDArray[np.uint8], *box: int) -> NDArray[np.float64]:
        """Landmarks [68,2] of the face in a box of whole pixels."""
        parts = self._predictor(frame, dlib.rectangle(*box)).parts()
        return np.array([(part.x, part.y) for part in parts], np.float64)

    @classmethod
    def provenance(cls, options: ModelOptions) -> dict[str, str]:
        """The version of dlib and the hash of the predictor's file."""
        with data_file().open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"dlib": dlib.__version__, "landmark_model": f"{_DATA} sha256:{digest}"}


def _gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The luma of an image, uint8 [H,W], contiguous."""
    gray = image if image.ndim == 2 else ((image @ _LUMA + np.uint16(128)) >> 8).astype(np.uint8)
    return np.ascontiguousarray(gray)


def _searched_px(finest_px: int) -> list[int]:
    """The scales at which an image with this shorter side is searched, as shorter sides from coarse to fine."""
    coarser = takewhile(lambda px: px * _STEP <= finest_px, (_COARSEST_PX * 2**octave for octave in count()))
    return [*coarser, finest_px]
