"""Keypoints with Jacobians, and their detector (section 3.1 of the paper).

Shape suffixes: B images, K keypoints, M maps of Jacobians (K, or 1 for all), N pixels of the heatmaps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motionshards.trainers.fomm.architecture import Architecture
from motionshards.trainers.fomm.blocks import Hourglass, coordinate_grid, reduction
from motionshards.trainers.precision import at_least_float32, unrounded

_KERNEL = 7
_MIN_DETERMINANT = 1e-6  # smallest magnitude of a determinant


@dataclass(frozen=True, kw_only=True, eq=False)
class Keypoints:
    """K keypoints of each of B images, float32 or float64. Can be sliced by rows."""

    value: Tensor
    """[B,K,2], (x, y)."""
    jacobian: Tensor | None
    """[B,K,2,2], row-major, of the map from the unobserved reference image to this one; None if not estimated."""

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: slice) -> "Keypoints":
        return Keypoints(value=self.value[rows], jacobian=None if self.jacobian is None else self.jacobian[rows])

    def detach(self) -> "Keypoints":
        """Return the keypoints without gradients."""
        return Keypoints(value=self.value.detach(), jacobian=None if self.jacobian is None else self.jacobian.detach())


class KPDetector(nn.Module):
    """Predicts keypoints as centers of mass of heatmaps, and their Jacobians as means of maps weighted by the same heatmaps."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        detector = config.detector
        self.temperature = detector.temperature
        self.predictor = Hourglass(config.channels, detector.block_expansion, detector.max_features, detector.blocks)
        self.kp = nn.Conv2d(self.predictor.width, config.keypoints, _KERNEL)
        self.jacobian: nn.Conv2d | None = None
        if config.jacobians:
            self.jacobian = self._jacobians(1 if detector.single_jacobian_map else config.keypoints)
        self.down = reduction(config.channels, detector.scale)

    def _jacobians(self, maps: int) -> nn.Conv2d:
        """Build the convolution of Jacobians, initialized to the identity."""
        convolution = nn.Conv2d(self.predictor.width, 4 * maps, _KERNEL)
        nn.init.zeros_(convolution.weight)
        assert convolution.bias is not None
        with torch.no_grad():
            convolution.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(maps))
        return convolution

    def forward(self, images: Tensor) -> Keypoints:
        """Detect keypoints of images [B,C,H,W] in [0, 1]. The last convolutions use float32, as rounding would move keypoints."""
        features = self.predictor(self.down(images))
        logits_bkhw = at_least_float32(unrounded(self.kp, features))
        heat_bkn = (logits_bkhw.flatten(2) / self.temperature).softmax(dim=-1)
        grid_n2 = coordinate_grid((logits_bkhw.shape[2], logits_bkhw.shape[3]), heat_bkn).flatten(0, 1)
        value = (heat_bkn[..., None] * grid_n2).sum(dim=2)
        if self.jacobian is None:
            return Keypoints(value=value, jacobian=None)
        maps_bm4n = at_least_float32(unrounded(self.jacobian, features)).view(len(images), -1, 4, len(grid_n2))
        jacobian_bk4 = (heat_bkn[:, :, None] * maps_bm4n).sum(dim=-1)
        return Keypoints(value=value, jacobian=jacobian_bk4.view(*value.shape, 2))


def inverse_2x2(matrices: Tensor) -> Tensor:
    """Invert matrices [...,2,2] in closed form, which compiles, exports and never raises.

    Determinants are clamped to a magnitude of at least 1e-6. A singular matrix therefore has a large but finite inverse with
    finite gradients, and a single bad keypoint affects an image, but not the training.
    """
    a, b, c, d = matrices.flatten(-2).unbind(-1)
    determinant = a * d - b * c
    bound = torch.where(determinant < 0, -_MIN_DETERMINANT, _MIN_DETERMINANT).to(determinant.dtype)
    determinant = torch.where(determinant.abs() < _MIN_DETERMINANT, bound, determinant)
    return torch.stack([d, -b, -c, a], dim=-1).view(matrices.shape) / determinant[..., None, None]


def product_2x2(first: Tensor, second: Tensor) -> Tensor:
    """Multiply matrices [...,2,2] elementwise, since autocast and TF32 would round matrix products."""
    return (first[..., :, :, None] * second[..., None, :, :]).sum(dim=-2)
