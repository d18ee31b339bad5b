"""The area of a convex hull as sums and products of tensors alone, so that it can stand in an exported graph.

Which edges count is decided on a grid of 2 ** -25. Every number there is whole and at most 2 ** 53 for points in [-1, 1], which
float64 holds exactly. So whether a point lies to the left of an edge, on it or to the right is never a matter of rounding, and
the edges that count always close.
"""

import torch
from torch import Tensor

LEAST_AREA = 1e-6
"""A smaller hull is taken for a line, by which nothing is scaled; the whole picture has 4."""

_CELLS = 2.0**25


def hull_area(points: Tensor) -> Tensor:
    """Areas of the convex hulls of points [B,K,2] in [-1, 1]: float64 [B], at most 1e-7 too small; 0 where they lie on a line.

    Of all pairs (i, j) those are edges, counterclockwise, for which no point lies to the right and none of those on the line lies
    beyond i or j; of points in the same place the first stands for all. The shoelace formula adds the edges up. That takes
    K ** 3 products, with no loop and no branch.
    """
    exact = points.double()
    whole = torch.round(exact * _CELLS)
    offset = whole[:, None] - whole[:, :, None]  # [B,i,j,2], from i to j
    edge, to_point = offset[:, :, :, None], offset[:, :, None]
    turn, along = _cross(edge, to_point), _dot(edge, to_point)  # [B,i,j,k]
    beyond = (turn == 0) & ((along < 0) | (along > _dot(edge, edge)))
    first = _first_of_equals(offset)
    counted = ~((turn < 0) | beyond).any(dim=-1) & first[:, :, None] & first[:, None]
    parts = torch.where(counted, _cross(exact[:, :, None], exact[:, None]), 0.0)
    return parts.flatten(1).sum(dim=1) / 2


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
