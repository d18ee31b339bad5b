"""LPIPS with VGG16 (Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018).

The weights are files of the user: torchvision's VGG16, and the linear layers of version 0.1 (`vgg.pth` of the authors).
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.errors import ConfigError
from motionshards.trainers import vgg
from motionshards.trainers.evaluation.measures import Features, Floats, Frames
from motionshards.trainers.evaluation.reconstruction import as_batch
from motionshards.transforms.weight_file import read

_TAPS = (3, 8, 15, 22, 29)  # relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3
_EPSILON = 1e-10


class LpipsMeasure:
    """LPIPS of pairs of frames. See Measure.

    linear: file of the linear layers
    weights: file of VGG16; None for that in torch hub's cache

    Raises:
        ConfigError: a file does not exist or has other contents
    """

    def __init__(self, linear: Path, weights: str | None, device: torch.device | str = "cpu") -> None:
        path = vgg.default_file(vgg.VGG16) if weights is None else Path(weights)
        if not path.is_file():
            raise ConfigError(f"{path} does not exist: LPIPS needs torchvision's weights of VGG16 ({vgg.VGG16.file}), see --vgg")
        network = vgg.load(str(path), vgg.VGG16, _TAPS)
        assert network is not None
        self._network, self._files = network.to(device), {"linear": linear, "vgg16": path}
        self._linear, self._device = _layers(linear, device), device

    def features(self, frames: Frames) -> Features:
        """See Measure. VGG features, 30 MB per frame, are computed in `compare` instead of being kept here."""
        return {"values": frames.values}

    @torch.inference_mode()
    def compare(self, real: Features, reconstructed: Features) -> dict[str, Floats]:
        """See Measure."""
        pairs = zip(real["values"], reconstructed["values"], strict=True)
        return {"lpips": np.array([self._distance(as_batch(np.stack(pair), self._device)) for pair in pairs])}

    def provenance(self) -> dict[str, str]:
        """Return the digests of the files."""
        return {f"lpips_{name}_sha256": sha256_of(path) for name, path in self._files.items()}

    def _distance(self, pair: Tensor) -> float:
        """LPIPS of two images [2,3,H,W]: weighted squared differences of normalized features, averaged over pixels and summed."""
        units = [maps / (torch.linalg.vector_norm(maps, dim=1, keepdim=True) + _EPSILON) for maps in self._network(pair)]
        squared = [(unit[0] - unit[1]) ** 2 for unit in units]
        weighted = [(weight * square).sum(dim=0).mean() for weight, square in zip(self._linear, squared, strict=True)]
        return float(torch.stack(weighted).sum())


def _layers(path: Path, device: torch.device | str) -> list[Tensor]:
    """Read the weights of the linear layers, [C,1,1] each."""
    content = read(path)
    found = [content.get(f"lin{number}.model.1.weight") for number in range(len(_TAPS))]
    expected = [(1, width, 1, 1) for width in (64, 128, 256, 512, 512)]
    if [getattr(weight, "shape", None) for weight in found] != expected:
        raise ConfigError(f"{path} does not contain the linear layers of LPIPS with VGG16 (expected vgg.pth of version 0.1)")
    return [weight[0].to(device) for weight in found if weight is not None]
