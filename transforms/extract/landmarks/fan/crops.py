"""The input crops of FAN, for all faces at once, bit-identical to those of face-alignment.

The library cuts whole pixels around a face, black outside the image, and scales them with OpenCV's bilinear `resize` for
bytes, which computes in fixed point. Here the same arithmetic runs on tensors of all faces.

Coordinates in this module are edges: the top left pixel covers 0 to 1. B images, N faces.
"""

import torch
from torch import Tensor

CROP_PX = 256
# A face with width + height = `reference` px fills a square of 200 px: the library's `REFERENCE_SCALE` and `SCALE_FACTOR`.
_UNIT_PX, _REFERENCE = 200.0, 195.0
_UP = 0.12

_BITS = 11
_ONE = 1 << _BITS


def places(boxes: Tensor, reference: float = _REFERENCE) -> tuple[Tensor, Tensor]:
    """Center [N,2] and side [N] of the square around each box float [N,4], float64, px."""
    boxes = boxes.double()
    size = boxes[:, 2:] - boxes[:, :2]
    center = boxes[:, 2:] - size / 2
    center[:, 1] -= size[:, 1] * _UP
    return center, size.sum(dim=1) / reference * _UNIT_PX


def crops(images: Tensor, owner: Tensor, center: Tensor, side: Tensor) -> Tensor:
    """The crop of each face, uint8 [N,3,256,256].

    images: uint8 [B,3,H,W]
    owner: int64 [N], the image of each face
    center, side: see `places`
    """
    low, high = _corner(1.0, center, side), _corner(float(CROP_PX), center, side)
    size = (high - low).clamp(min=1).to(images.device)
    low = low.to(images.device)
    left, right, column = _axis(low[:, 0], size[:, 0], images.shape[3], clamped=False)
    above, below, row = _axis(low[:, 1], size[:, 1], images.shape[2], clamped=True)
    upper = _blend(images, owner, above, left, right, column) >> 4
    lower = _blend(images, owner, below, left, right, column) >> 4
    weight = row[:, None, :, None]
    return ((((_ONE - weight) * upper >> 16) + (weight * lower >> 16) + 2) >> 2).to(torch.uint8)


def _corner(point: float, center: Tensor, side: Tensor) -> Tensor:
    """A corner of the crop in whole pixels, int64 [N,2]: the library's matrix inverted in its precision, truncated."""
    matrix = torch.zeros((len(center), 3, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = CROP_PX / side
    matrix[:, :2, 2] = CROP_PX * (0.5 - center / side[:, None])
    matrix[:, 2, 2] = 1
    at = torch.inverse(matrix) @ torch.tensor([point, point, 1.0])
    return at[:, :2].to(torch.int64)


def _axis(low: Tensor, size: Tensor, extent: int, *, clamped: bool) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel of the crop along an axis, int64 [N,256]: the pixels before and after it, -1 if black, and the weight of
    the latter in 1/2048.

    clamped: beyond the square, OpenCV repeats the border for rows; for columns it sets the weight to 0 instead
    """
    step = (size.double() / CROP_PX)[:, None]
    place = ((torch.arange(CROP_PX, device=low.device) + 0.5) * step - 0.5).float()
    before = place.floor()
    share = place - before
    number, last = before.to(torch.int64), (size - 1)[:, None]
    if not clamped:
        share = torch.where((number < 0) | (number >= last), torch.zeros_like(share), share)
    weight = (share * _ONE).round().to(torch.int64)
    found = [torch.minimum(at.clamp(min=0), last) + low[:, None] for at in (number, number + 1)]
    first, second = (torch.where((at >= 0) & (at < extent), at, -1) for at in found)
    return first, second, weight


def _blend(images: Tensor, owner: Tensor, row: Tensor, left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """Rows [N,256] of the images, interpolated between columns [N,256]: int32 [N,3,256,256] in 1/2048."""
    mixed = _at(images, owner, row, left) * (_ONE - weight)[:, None, None].int()
    return mixed + _at(images, owner, row, right) * weight[:, None, None].int()


def _at(images: Tensor, owner: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Pixels at rows and columns, int32 [N,3,256,256]; black where either is -1."""
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    row, column = row[:, None, :, None], column[:, None, None, :]
    pixels = images[owner[:, None, None, None], channel, row.clamp(min=0), column.clamp(min=0)].int()
    return torch.where((row >= 0) & (column >= 0), pixels, 0)
