"""Face embeddings by an ArcFace network in an ONNX file of the user, for CSIM.

Deng et al., "ArcFace: Additive angular margin loss for deep face recognition", CVPR 2019. The network must take aligned faces
like InsightFace's files: RGB float32 [1,3,112,112] in [-1, 1].
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.transform import estimate_transform, warp

from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.evaluation.scores import Pixels
from motionshards.trainers.onnx_graph import OnnxGraph

_SIDE_PX = 112
# InsightFace's alignment: the person's right and left eye, the tip of the nose and the corners of the mouth.
TEMPLATE_PX = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
_POINTS = (range(36, 42), range(42, 48), (30,), (48,), (54,))


class ArcFace:
    """An ArcFace network. See FaceEmbedder.

    Raises:
        ConfigError: onnxruntime is not installed, or the file is not such a network
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        self._graph, self._path = OnnxGraph(path, device), path
        self._embedding(np.zeros((_SIDE_PX, _SIDE_PX, 3), np.float32))

    def embeddings(self, rgb: Pixels, points_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """See FaceEmbedder. Faces are processed one by one, as some files have a fixed batch size."""
        return np.stack([self._embedding(aligned(*face)) for face in zip(rgb, points_px, strict=True)])

    def provenance(self) -> dict[str, str]:
        """Return the digest of the file."""
        return {"arcface_sha256": sha256_of(self._path)}

    def _embedding(self, face: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the embedding [C] of a face [112,112,3] in [0, 255]."""
        try:
            (found,) = self._graph((face / 127.5 - 1).transpose(2, 0, 1)[None])
        except ValueError as error:
            raise ConfigError(f"{self._path} is not an ArcFace network: {error}") from error
        embedding: NDArray[np.float32] = found.reshape(-1)
        return embedding


def aligned(rgb: Pixels, points_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """Align a face uint8 [H,W,3] by its 68 landmarks to the template: float32 [112,112,3] in [0, 255]."""
    five = np.stack([points_px[[*numbers]].mean(axis=0) for numbers in _POINTS])
    to_template = estimate_transform("similarity", five, TEMPLATE_PX)
    face: NDArray[np.float32] = warp(
        rgb, to_template.inverse, output_shape=(_SIDE_PX, _SIDE_PX), order=1, preserve_range=True
    ).astype(np.float32)
    return face
