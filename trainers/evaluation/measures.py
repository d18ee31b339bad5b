"""Metrics of frames, as arrays with a row per frame."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from motionshards.trainers.evaluation.scores import Pixels
from motionshards.transforms.extract.identity import descriptor
from motionshards.transforms.extract.identity.compare import TWO_PEOPLE
from motionshards.transforms.extract.landmarks.models import FaceModel
from motionshards.transforms.extract.quality.pose import head_pose

Floats = NDArray[np.floating[Any]]
Features = Mapping[str, Floats]
"""Features of N frames by name, arrays [N,...]."""

# Error of rounding to 8 bits, for values in [0, 1]: identical frames have PSNR 58.9 dB, and means over frames stay finite.
MIN_SQUARED_ERROR = 1 / 255**2 / 12
_SIGMA_PX = 1.5


@dataclass(frozen=True, eq=False)
class Frames:
    """N frames: `values` float32 [N,H,W,3] in [0, 1], and `pixels`, the same as uint8."""

    values: NDArray[np.float32]
    pixels: Pixels


class Measure(Protocol):
    """Computes metrics of pairs of frames, in two steps."""

    def features(self, frames: Frames) -> Features:
        """Compute the features of each frame."""

    def compare(self, real: Features, reconstructed: Features) -> dict[str, Floats]:
        """Compute metrics [N] from the features of N real frames and their reconstructions; NaN if a frame cannot be measured."""


class PixelMeasure:
    """L1, PSNR and SSIM over all pixels and channels.

    SSIM is that of Wang et al. 2004 ("Image quality assessment: from error visibility to structural similarity"): Gaussian
    window with a standard deviation of 1.5 px, averaged over the three channels.
    """

    def features(self, frames: Frames) -> Features:
        """See Measure."""
        return {"values": frames.values}

    def compare(self, real: Features, reconstructed: Features) -> dict[str, Floats]:
        """See Measure."""
        difference = reconstructed["values"].astype(np.float64) - real["values"]
        squared = np.maximum((difference**2).mean(axis=(1, 2, 3)), MIN_SQUARED_ERROR)
        pairs = zip(real["values"], reconstructed["values"], strict=True)
        return {
            "l1": np.abs(difference).mean(axis=(1, 2, 3)),
            "psnr_db": -10 * np.log10(squared),
            "ssim": np.array([_ssim(*pair) for pair in pairs]),
        }


def _ssim(real: NDArray[np.float32], reconstructed: NDArray[np.float32]) -> float:
    options = {"gaussian_weights": True, "sigma": _SIGMA_PX, "use_sample_covariance": False}
    found = structural_similarity(
        real.astype(np.float64), reconstructed.astype(np.float64), channel_axis=-1, data_range=1.0, **options
    )
    return float(found)


class FaceEmbedder(Protocol):
    """A face recognition network."""

    def embeddings(self, rgb: Pixels, points_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return embeddings [n,C] of faces uint8 [n,H,W,3] with landmarks float32 [n,68,2], all finite."""


@dataclass(frozen=True)
class FaceMeasure:
    """Metrics of the most confident face, which is detected in real and reconstructed frames alike.

    `missing` is 1 if the real frame has a face and the reconstruction has none. The other metrics need both faces: the mean
    distance of the landmarks (AKD), the mean absolute error of yaw, pitch and roll computed from landmarks, and the Euclidean
    distance of dlib's face descriptors (AED).

    identity: whether to compute face descriptors, which take 60 to 100 ms each
    arcface: network for the cosine of embeddings (CSIM)
    """

    model: FaceModel
    identity: bool = True
    arcface: FaceEmbedder | None = None

    def features(self, frames: Frames) -> Features:
        """See Measure."""
        points = face_points(self.model, frames.pixels)
        found: dict[str, Floats] = {"points": points, "pose": head_pose(points, (frames.pixels.shape[2], frames.pixels.shape[1]))}
        has_face = _found(points)
        rgb, known = frames.pixels[has_face], points[has_face]
        if self.identity:
            found["descriptor"] = _spread(descriptor.descriptors(rgb, known), has_face)
        if self.arcface is not None:
            embeddings = self.arcface.embeddings(rgb, known) if len(rgb) else np.empty((0, 1), np.float32)
            found["embedding"] = _spread(embeddings, has_face)
        return found

    def compare(self, real: Features, reconstructed: Features) -> dict[str, Floats]:
        """See Measure."""
        has_face, still_has = _found(real["points"]), _found(reconstructed["points"])
        angles = np.abs((reconstructed["pose"] - real["pose"] + 180) % 360 - 180)
        found: dict[str, Floats] = {
            "missing": np.where(has_face, ~still_has, np.nan),
            "akd_px": np.linalg.norm(reconstructed["points"] - real["points"], axis=-1).mean(axis=-1),
            "pose_deg": angles.mean(axis=-1),
        }
        if self.identity:
            found["aed"] = np.linalg.norm(reconstructed["descriptor"] - real["descriptor"], axis=-1)
            found["same_person"] = np.where(np.isfinite(found["aed"]), found["aed"] < TWO_PEOPLE, np.nan)
        if self.arcface is not None:
            found["csim"] = _cosine(reconstructed["embedding"], real["embedding"], has_face & still_has)
        return found


def _found(points: Floats) -> NDArray[np.bool_]:
    """Return which of N frames have landmarks [N,68,2] of a face, bool [N]."""
    return np.asarray(np.isfinite(points).all(axis=(1, 2)))


def _spread(rows: NDArray[np.float32], has_face: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Scatter rows [n,C] of the frames with `has_face` [N] to [N,C], with NaN for the others."""
    spread = np.full((len(has_face), rows.shape[1]), np.nan, np.float32)
    spread[has_face] = rows
    return spread


def _cosine(one: Floats, other: Floats, both: NDArray[np.bool_]) -> Floats:
    """Cosine [N] of rows, NaN where not `both`. Arrays without any face differ in width."""
    found = np.full(len(both), np.nan)
    if both.any():
        one, other = one[both].astype(np.float64), other[both].astype(np.float64)
        found[both] = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    return found


def face_points(model: FaceModel, frames: Pixels) -> NDArray[np.float32]:
    """Return the landmarks of the most confident face in frames uint8 [T,H,W,3]: [T,68,2] in pixels, NaN without a face."""
    boxes = np.full((len(frames), 4), np.nan, np.float32)
    for box, found in zip(boxes, model.detect(frames), strict=True):
        if len(found):
            box[:] = found.boxes_px[0]
    return model.landmarks(frames, boxes).points_px
