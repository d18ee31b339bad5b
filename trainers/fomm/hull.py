"""The area of a convex hull, computed with float32 sums and products of tensors only, so that it can be exported in a graph.

Edges of the hull are found on a grid of 2 ** -21, with integers that float32 represents exactly (see `_turn`). Whether a point is
to the left of an edge, on it or to the right is therefore independent of rounding, and the edges always form a closed polygon.
float64 would need no split, but LiteRT does not support rounding of float64.
"""

import torch
from torch import Tensor

MIN_AREA = 1e-6
"""Smaller hulls are treated as degenerate, and motion is not scaled; the area of the whole image is 4."""

_CELLS = 2.0**21
_SPLIT = 2.0**12


def hull_area(points: Tensor) -> Tensor:
    """Areas of the convex hulls of points [B,K,2] in [-1, 1]: float32 [B], at most 3e-6 too small; 0 for points on a line.

    A pair (i, j) is a counterclockwise edge if no point is to its right and no point on its line is beyond i or j; of coinciding
    points only the first is used. The shoelace formula sums the edges relative to the first point, so that terms are as small as
    the hull. This takes K ** 3 products, without loops or branches.
    """
    exact = points.float()
    whole = torch.round(exact * _CELLS)
    offset = whole[:, None] - whole[:, :, None]  # [B,i,j,2], from i to j
    edge, to_point = offset[:, :, :, None], offset[:, :, None]
    turn = _turn(edge, to_point)  # [B,i,j,k]
    # For points on the line both products have the same sign, so the sign of their sum is exact.
    beyond = (turn == 0) & ((_dot(edge, to_point) < 0) | (_dot(edge, offset[:, None]) > 0))
    first = _first_of_equals(offset)
    counted = ~((turn < 0) | beyond).any(dim=-1) & first[:, :, None] & first[:, None]
    moved = exact - exact[:, :1]
    parts = torch.where(counted, _cross(moved[:, :, None], moved[:, None]), 0.0)
    return parts.flatten(1).sum(dim=1) / 2


def _turn(first: Tensor, second: Tensor) -> Tensor:
    """Cross products of vectors of integers up to 2 ** 22, with exact signs.

    The factors are split at 2 ** 12 into high parts up to 2 ** 10 and low ones up to 2 ** 11, so that no sum of products below
    exceeds 2 ** 24. After the carries a nonzero part outweighs those below it.
    """
    (first_high, first_low), (second_high, second_low) = _split(first), _split(second)
    carry, low = _split(_cross(first_low, second_low))
    carry, middle = _split(_cross(first_high, second_low) + _cross(first_low, second_high) + carry)
    return ((_cross(first_high, second_high) + carry) * _SPLIT + middle) * _SPLIT + low


def _split(whole: Tensor) -> tuple[Tensor, Tensor]:
    """Split integers into high and low parts: high * 2 ** 12 + low."""
    high = torch.round(whole / _SPLIT)
    return high, whole - high * _SPLIT


def _first_of_equals(offset: Tensor) -> Tensor:
    """Return which points do not coincide with an earlier one, bool [B,K]."""
    same = (offset == 0).all(dim=-1)
    count = offset.shape[1]
    before = torch.ones(count, count, dtype=torch.bool, device=offset.device).tril(-1)
    return ~(same & before).any(dim=-1)


def _cross(first: Tensor, second: Tensor) -> Tensor:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return first[..., 0] * second[..., 0] + first[..., 1] * second[..., 1]
