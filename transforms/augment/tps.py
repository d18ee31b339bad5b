"""The random warp T of the first order motion model's equivariance: an affine map and a thin plate spline.

    T(z) = A z + t + sum over i of p_i k(|z - c_i|),   k(r) = r^2 log(r + 1e-6)

with |.| the L1 norm, z before the affine map, c the control points on a regular grid over [-1, 1]^2 and the same displacement
on x and y (Siarohin et al., "First order motion model for image animation", NeurIPS 2019, and the published code).

Coordinates are (x, y) in [-1, 1]; pixel i of n is at 2 i / (n - 1) - 1. They are at least float32, also for bf16 images and
under autocast: rounded to bf16, a coordinate is off by up to a quarter of a pixel in an image of 256 px.

T(z) - z is linear in A - I, t and p, with a basis that depends on the image size only. The basis is therefore cached per size,
and the displacements of a batch are one small matrix product. The identity is added outside that product: even if the
product is rounded to TF32, coordinates are accurate to a few hundredths of a pixel.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_OFFSET = 1e-6  # of the published kernel: keeps the logarithm finite at a control point
_CPU_PIXELS = 1 << 19  # grid points at a time: what fits in a CPU's cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Warp:
    """One transform for each of B images, float32 or float64.

    Raises:
        ValueError: the shapes are not those below, or k is 1
    """

    theta: Tensor
    """[B,2,3]: A and, as third column, t."""
    control: Tensor
    """[B,1,k*k], parameters p of k by k control points, row by row, x fastest; [B,1,0] for the affine map alone."""

    def __post_init__(self) -> None:
        count, side = len(self.theta), isqrt(self.control.shape[-1])
        if self.theta.shape != (count, 2, 3) or self.control.shape != (count, 1, side**2) or side == 1:
            raise ValueError(f"theta must be [B,2,3] and control [B,1,k*k], not {[*self.theta.shape]}, {[*self.control.shape]}")

    @classmethod
    def draw(
        cls, count: int, generator: torch.Generator, sigma_affine: float = 0.05, sigma_tps: float = 0.005, points: int = 5
    ) -> "Warp":
        """Draw `count` random transforms, float32, on the host, normally distributed around the identity.

        The default standard deviations and number of points are those published for Tai-Chi and VoxCeleb. `generator`: a CPU
        generator, so that draws do not depend on the device.
        """
        noise = torch.randn(count, 6 + points**2, generator=generator, dtype=torch.float64)
        theta = torch.eye(2, 3, dtype=torch.float64) + sigma_affine * noise[:, :6].reshape(-1, 2, 3)
        return cls(theta=theta.float(), control=sigma_tps * noise[:, None, 6:].float())

    def __len__(self) -> int:
        return len(self.theta)

    def __getitem__(self, rows: slice) -> "Warp":
        return Warp(theta=self.theta[rows], control=self.control[rows])

    def to(self, device: torch.device | str) -> "Warp":
        """A copy on another device, by a non-blocking transfer."""
        return Warp(theta=self.theta.to(device, non_blocking=True), control=self.control.to(device, non_blocking=True))

    def warp_coordinates(self, points: Tensor) -> Tensor:
        """T of `points` [B,N,2], in the wider of the dtypes of transform and points, at least float32."""
        points, theta, control = self._aligned(points)
        moved = (theta[:, None, :, :2] * points[:, :, None]).sum(-1) + theta[:, None, :, 2]
        radius = _offsets(points, control.shape[-1]).abs().sum(-1)
        return moved + (control * _kernel(radius)).sum(-1, keepdim=True)

    def jacobian(self, points: Tensor) -> Tensor:
        """[B,N,2,2], entry (a, b) the derivative of coordinate a of T by coordinate b of `points` [B,N,2].

        In closed form, and differentiable: A_ab + sum over i of p_i k'(r_i) sign(z_b - c_ib), with
        k'(r) = 2 r log(r + 1e-6) + r^2 / (r + 1e-6). The sign of 0 is 0, as in autograd's derivative of |z|.
        """
        points, theta, control = self._aligned(points)
        offsets = _offsets(points, control.shape[-1])
        slope = control * _kernel_slope(offsets.abs().sum(-1))
        return theta[:, None, :, :2] + (slope[..., None] * offsets.sign()).sum(-2)[:, :, None]

    def grid(self, size: tuple[int, int]) -> Tensor:
        """T of the centers of all pixels of an image of `size` = (height, width), [B,height,width,2]."""
        dtype = torch.promote_types(self.theta.dtype, torch.float32)
        points = isqrt(self.control.shape[-1])
        identity, basis = _basis(size, points, self.theta.device, dtype)
        affine = (self.theta - torch.eye(2, 3, device=self.theta.device, dtype=dtype)).flatten(1)
        with torch.autocast(self.theta.device.type, enabled=False):
            moved = torch.addmm(identity, torch.cat([affine, self.control.flatten(1)], dim=1).to(dtype), basis)
        return moved.view(-1, *size, 2)

    def warp_frames(self, frames: Tensor, *, align_corners: bool = True) -> Tensor:
        """Sample float images [B,C,H,W], any dtype, bilinearly at T of their pixels, with reflection padding.

        With `align_corners`, -1 and 1 are the centers of the outermost pixels, as in the coordinates above. Without, sampling
        interprets them as the edges of the image although the coordinates are unchanged, so that T = I is not the
        identity: this is what the original repository does with current PyTorch.
        """
        size = (frames.shape[2], frames.shape[3])
        step = max(1, _CPU_PIXELS // (size[0] * size[1])) if frames.device.type == "cpu" else max(1, len(frames))
        starts = range(0, max(1, len(frames)), step)
        parts = [_sample(frames[start : start + step], self[start : start + step].grid(size), align_corners) for start in starts]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _aligned(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points, theta and control in their common dtype, at least float32."""
        dtype = torch.promote_types(torch.promote_types(points.dtype, self.theta.dtype), torch.float32)
        return points.to(dtype), self.theta.to(dtype), self.control.to(dtype)


def _sample(frames: Tensor, grid: Tensor, align_corners: bool) -> Tensor:
    dtype = torch.promote_types(frames.dtype, grid.dtype)
    with torch.autocast(frames.device.type, enabled=False):
        sampled = F.grid_sample(frames.to(dtype), grid.to(dtype), padding_mode="reflection", align_corners=align_corners)
    return sampled.to(frames.dtype)


def _kernel(radius: Tensor) -> Tensor:
    return radius**2 * (radius + _OFFSET).log()


def _kernel_slope(radius: Tensor) -> Tensor:
    return 2 * radius * (radius + _OFFSET).log() + radius**2 / (radius + _OFFSET)


def _offsets(points: Tensor, count: int) -> Tensor:
    """Offsets of `points` [...,2] from each of the control points, [...,count,2]."""
    return points.unsqueeze(-2) - pixel_grid((isqrt(count), isqrt(count))).flatten(0, 1).to(points)


def pixel_grid(size: tuple[int, int]) -> Tensor:
    """Coordinates (x, y) of the pixels of an image of `size` = (height, width), float64 [height,width,2], on the host."""
    y, x = (torch.linspace(-1, 1, length, dtype=torch.float64) for length in size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


@lru_cache(maxsize=4)
def _basis(size: tuple[int, int], points: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The pixels' coordinates, [H*W*2], and the basis of A - I (row by row, each with its t) and p, [6 + points**2, H*W*2].

    16 MB at 256x256. Computed outside inference mode: the first caller may be in it, and a later one may need gradients.
    """
    with torch.inference_mode(False), torch.no_grad():
        grid = pixel_grid(size).flatten(0, 1)
        kernels = _kernel(_offsets(grid, points**2).abs().sum(-1))
        affine, nothing = torch.cat([grid, torch.ones_like(grid[:, :1])], dim=1), grid.new_zeros(len(grid), 3)
        onto_x, onto_y = torch.cat([affine, nothing, kernels], dim=1), torch.cat([nothing, affine, kernels], dim=1)
        basis = torch.stack([onto_x, onto_y], dim=1).flatten(0, 1).T.contiguous()
        return grid.flatten().to(device, dtype), basis.to(device, dtype)
