"""The area of a convex hull as float32 sums and products of tensors alone, so that it can be part of an exported graph.

Which edges count is decided on a grid of 2 ** -21, in integers that float32 holds exactly (see `_turn`). Whether a point lies to
the left of an edge, on it or to the right is therefore never a matter of rounding, and the edges that count always close.
float64 would need no split, but LiteRT rounds no float64.
"""

import torch
from torch import Tensor

LEAST_AREA = 1e-6
"""A smaller hull is taken for a line, by which nothing is scaled; the whole image has 4."""

_CELLS = 2.0**21
_SPLIT = 2.0**12


def hull_area(points: Tensor) -> Tensor:
    """Areas of the convex hulls of points [B,K,2] in [-1, 1]: float32 [B], at most 3e-6 too small; 0 where they lie on a line.

    Of all pairs (i, j) those are edges, counterclockwise, for which no point lies to the right and none of those on the line lies
    beyond i or j; of points in the same place the first stands for all. The shoelace formula adds the edges up, from the first
    point on, so that the terms are as small as the hull. That takes K ** 3 products, with no loop and no branch.
    """
    exact = points.float()
    whole = torch.round(exact * _CELLS)
    offset = whole[:, None] - whole[:, :, None]  # [B,i,j,2], from i to j
    edge, to_point = offset[:, :, :, None], offset[:, :, None]
    turn = _turn(edge, to_point)  # [B,i,j,k]
    # Of points on the line both products have the same sign, so the sign of their sum is exact.
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
    """High and low, for which high * 2 ** 12 + low are the integers."""
    high = torch.round(whole / _SPLIT)
    return high, whole - high * _SPLIT


def _first_of_equals(offset: Tensor) -> Tensor:
    """bool [B,K], which points have none before them in the same place."""
    same = (offset == 0).all(dim=-1)
    count = offset.shape[1]
    before = torch.ones(count, count, dtype=torch.bool, device=offset.device).tril(-1)
    return ~(same & before).any(dim=-1)


def _cross(first: Tensor, second: Tensor) -> Tensor:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return first[..., 0] * second[..., 0] + first[..., 1] * second[..., 1]
