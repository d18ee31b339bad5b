"""Convolutions that compute on a CPU the same as `nn.Conv2d`, up to rounding, in less time.

- `WinogradConv2d` multiplies 36 times for 16 pixels where a 3x3 convolution multiplies 144 times.
- `PackedConv2d` stores its weights in the layout of oneDNN's kernels. `nn.Conv2d` converts them in every call, which takes most
  of the time where an image has few pixels and many channels.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

_TILE = 4
_WINDOW = _TILE + 2
_COMPONENTS = _WINDOW**2
# Tiles computed at a time. Their components should fit the processor's cache: at 256 channels, input and output take 9 MiB each.
_MAX_TILES = 256
# Interpolation points. Rounding errors are half of those with the usual 0, ±1, ±2, and five times those of a direct convolution
# (256 channels, float32). The coefficients of both image transforms are exact in float32.
_POINTS = np.array([0, 0.75, -0.75, 1.5, -1.5])


class WinogradConv2d(nn.Module):
    """A 3x3 convolution of padding 1, [B,C,H,W] to [B,out,H,W], by Winograd's minimal filtering F(4x4, 3x3).

    Tiles of 4x4 pixels are computed from overlapping windows of 6x6 pixels. A linear transform turns a window into 36 components,
    each of which is multiplied by its own matrix [out,C]; another transform turns the products into a tile (Lavin and Gray 2016,
    "Fast Algorithms for Convolutional Neural Networks", section 4). Image tensors are in channels_last.
    """

    to_components: Tensor
    """[36,36], of the pixels of a window."""
    to_pixels: Tensor
    """[16,36], of a tile."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        assert convolution.kernel_size == (3, 3) and convolution.padding == (1, 1) and convolution.bias is not None
        dtype, (outside, inside) = convolution.weight.dtype, convolution.weight.shape[:2]
        pixels, kernel, window = (torch.from_numpy(matrix) for matrix in _transforms())
        weight = torch.einsum("ai,bj,ocij->aboc", kernel, kernel, convolution.weight.double())
        # The components of a tile of ones: with them, adding the bias takes no pass over the image.
        ones = torch.from_numpy(np.linalg.pinv(pixels.numpy()).sum(axis=1))
        bias = torch.kron(ones, ones)[:, None] * convolution.bias.double()
        self.products = nn.Conv2d(_COMPONENTS * inside, _COMPONENTS * outside, 1, groups=_COMPONENTS)
        self.products.weight = nn.Parameter(weight.reshape(-1, inside, 1, 1).to(dtype), requires_grad=False)
        self.products.bias = nn.Parameter(bias.flatten().to(dtype), requires_grad=False)
        self.register_buffer("to_components", torch.kron(window, window).to(dtype))
        self.register_buffer("to_pixels", torch.kron(pixels, pixels).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = -(-height // _TILE), -(-width // _TILE)
        parts = -(-rows // max(1, _MAX_TILES // columns))
        part_rows = -(-rows // parts)  # the same in all parts, since weights are packed for one shape
        bottom, right = _TILE * parts * part_rows - height, _TILE * columns - width
        padded = F.pad(x, (1, right + 1, 1, bottom + 1)).permute(0, 2, 3, 1)
        windows = padded.unfold(1, _WINDOW, _TILE).unfold(2, _WINDOW, _TILE)
        tiles = [self._tiles(part).transpose(1, 2) for image in windows for part in image.split(part_rows)]
        result = torch.stack(tiles).view(len(x), height + bottom, width + right, -1)
        return result[:, :height, :width].permute(0, 3, 1, 2)

    def _tiles(self, windows: Tensor) -> Tensor:
        """Tiles [rows,columns,4,4,out] of windows [rows,columns,C,6,6]."""
        rows, columns, inside = windows.shape[:3]
        pixels = windows.permute(0, 1, 3, 4, 2).reshape(-1, _COMPONENTS, inside)
        components = _each(self.to_components, pixels).view(1, rows, columns, -1)
        products = self.products(components.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return _each(self.to_pixels, products.reshape(rows * columns, _COMPONENTS, -1)).view(rows, columns, _TILE, _TILE, -1)


def _each(matrix: Tensor, windows: Tensor) -> Tensor:
    """`matrix` [M,N] times each of `windows` [T,N,C]."""
    return torch.bmm(matrix.expand(len(windows), -1, -1), windows)


def _transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transforms along one axis, float64: components to pixels [4,6], kernel to components [6,3], window to components [6,6].

    They evaluate and interpolate polynomials at `_POINTS` and at infinity (Toom-Cook; Barabasz et al. 2020, "Error Analysis and
    Improving the Accuracy of Winograd Convolution for Deep Neural Networks").
    """
    others = [np.delete(_POINTS, number) for number in range(len(_POINTS))]
    scales = [np.prod(point - rest) for point, rest in zip(_POINTS, others, strict=True)]
    pixels = np.vstack([np.vander(_POINTS, _TILE, increasing=True), np.eye(_TILE)[-1]]).T
    kernel = np.vstack([np.vander(_POINTS, 3, increasing=True) / np.array(scales)[:, None], np.eye(3)[-1]])
    window = np.vstack([*(np.append(np.poly(rest)[::-1], 0) for rest in others), np.poly(_POINTS)[::-1]])
    return pixels, kernel, window


class PackedConv2d(nn.Module):
    """An `nn.Conv2d` of float32 on a CPU with oneDNN. Weights are packed for the shape of the last input.

    The operators are those that torch.compile emits for frozen weights; eager PyTorch has no other way to keep packed weights.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.bias, self._weight = convolution.bias, convolution.weight.detach().to_mkldnn()
        self._padding, self._stride, self._dilation = convolution.padding, convolution.stride, convolution.dilation
        self._groups, self._shape = convolution.groups, torch.Size()

    def forward(self, x: Tensor) -> Tensor:
        if x.shape != self._shape:
            self._weight = torch.ops.aten.mkldnn_reorder_conv2d_weight(
                self._weight, self._padding, self._stride, self._dilation, self._groups, x.shape
            )
            self._shape = x.shape
        return torch.ops.mkldnn._convolution_pointwise(  # type: ignore[no-any-return]
            x, self._weight, self.bias, self._padding, self._stride, self._dilation, self._groups, "none", [], ""
        )
