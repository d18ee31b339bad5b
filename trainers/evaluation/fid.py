"""FID, the Fréchet distance between the distributions of Inception features of real frames and of reconstructions.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", NeurIPS 2017. The network is a
TorchScript file of the user, called as in StyleGAN3's metrics: it takes images uint8 [N,3,H,W] of any size and
`return_features=True`, and returns float [N,C]. NVIDIA's `inception-2015-12-05.pt` is the published network (C = 2048).
"""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.evaluation.measures import Frames
from motionshards.trainers.evaluation.reconstruction import as_batch
from motionshards.trainers.evaluation.scores import Pixels, Score

logger = logging.getLogger("motionshards")

Rows = NDArray[np.float64]

_PUBLISHED_FEATURES = 2048
_IMAGES_AT_ONCE = 16  # bounds the memory of the network
_ROWS_AT_ONCE = 1024  # merging one row moves as many bytes as merging a thousand


class Inception:
    """Computes features of images with the network of a TorchScript file.

    Raises:
        ConfigError: the file cannot be read, or is not such a network
    """

    def __init__(self, path: Path, device: torch.device | str = "cpu") -> None:
        self._path, self._device = path, device
        try:
            self._network = torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"{path} is not a TorchScript file: {str(error).partition('. ')[0].splitlines()[0]}") from error
        try:
            count = self(np.zeros((2, 64, 64, 3), np.uint8)).shape[1]
        except (RuntimeError, ValueError) as error:  # the message follows TorchScript's traceback
            raise ConfigError(
                f"{path} is not an Inception network (see docs/evaluation.md): {str(error).splitlines()[-1]}"
            ) from error
        if count != _PUBLISHED_FEATURES:
            logger.warning("%s has %d features; published FIDs use %d", path, count, _PUBLISHED_FEATURES)

    @torch.inference_mode()
    def __call__(self, rgb: Pixels) -> Rows:
        """Compute features [N,C] of images uint8 [N,H,W,3]. Raises ValueError: the network returns something else."""
        return np.concatenate([self._features(rgb[at : at + _IMAGES_AT_ONCE]) for at in range(0, len(rgb), _IMAGES_AT_ONCE)])

    def provenance(self) -> dict[str, str]:
        """Return the digest of the file."""
        return {"inception_sha256": sha256_of(self._path)}

    def _features(self, rgb: Pixels) -> Rows:
        found = self._network(as_batch(rgb, self._device).contiguous(), return_features=True)
        if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != len(rgb):
            raise ValueError("it does not return features [N,C] of N images")
        features: Rows = found.double().cpu().numpy()
        return features


class Moments:
    """Mean and covariance of rows [N,C], accumulated in parts.

    Parts are merged as in Chan et al., "Algorithms for computing the sample variance", The American Statistician 37 (1983).
    """

    def __init__(self) -> None:
        self._waiting: list[Rows] = []
        self._count, self._mean, self._scatter = 0, np.zeros(()), np.zeros(())

    def add(self, rows: Rows) -> None:
        """Add rows [N,C]."""
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= _ROWS_AT_ONCE:
            self._merge()

    def result(self) -> tuple[int, Rows, Rows]:
        """Return N, the mean [C] and the covariance [C,C] with divisor N - 1, which is NaN for a single row."""
        self._merge()
        return self._count, self._mean, self._scatter / (self._count - 1 or np.nan)

    def _merge(self) -> None:
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting)
        self._waiting.clear()
        total, mean = self._count + len(rows), rows.mean(axis=0)
        rows, apart = rows - mean, mean - self._mean
        self._scatter = self._scatter + rows.T @ rows + np.outer(apart, apart) * (self._count * len(rows) / total)
        self._count, self._mean = total, self._mean + apart * (len(rows) / total)


def frechet_distance(one: tuple[Rows, Rows], other: tuple[Rows, Rows]) -> float:
    """Return the squared Fréchet distance of two normal distributions, each given as mean [C] and covariance [C,C].

    |m - n|² + tr(S + T - 2 (S T)^½), Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982.
    With S = A Aᵀ and T = B Bᵀ the trace of the root is the sum of the singular values of Aᵀ B, which is accurate for singular
    covariances, too.
    """
    apart, roots = one[0] - other[0], _root(one[1]).T @ _root(other[1])
    return float(apart @ apart + np.trace(one[1]) + np.trace(other[1]) - 2 * np.linalg.norm(roots, "nuc"))


def _root(covariance: Rows) -> Rows:
    """Return A [C,R] of full rank such that A Aᵀ is the covariance."""
    values, vectors = np.linalg.eigh(covariance)
    significant = values > values[-1] * len(values) * np.finfo(float).eps
    root: Rows = vectors[:, significant] * np.sqrt(values[significant])
    return root


class Fid:
    """FID of a model and of the baseline over all added frames."""

    def __init__(self, network: Inception) -> None:
        self._network = network
        self._real, self._model, self._copy = Moments(), Moments(), Moments()

    def add(self, frames: Frames, count: int) -> None:
        """Add `count` frames and their reconstructions; `frames` are [copied frame, real frames, reconstructions]."""
        found = self._network(frames.pixels)
        self._real.add(found[1 : 1 + count])
        self._model.add(found[1 + count :])
        self._copy.add(np.broadcast_to(found[0], (count, found.shape[1])))

    def scores(self) -> tuple[Score, Score]:
        """Return the scores of the model and of the baseline; None if there is only one frame.

        A warning is logged if there are too few frames for a covariance of full rank. FID is biased for any number of frames
        (Chong and Forsyth, "Effectively unbiased FID and Inception score", CVPR 2020).
        """
        count, *real = self._real.result()
        if count < 2:
            return Score(None, 0), Score(None, 0)
        if count <= (features := len(real[0])):
            warning = "FID of %d frames with %d features is biased upwards, and comparable only between runs on the same frames"
            logger.warning(warning, count, features)
        distances = (frechet_distance((real[0], real[1]), each.result()[1:]) for each in (self._model, self._copy))
        model, copy = (Score(distance, count) for distance in distances)
        return model, copy
