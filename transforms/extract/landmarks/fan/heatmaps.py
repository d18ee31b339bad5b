"""Decodes FAN's heatmaps to points, for all faces at once, by the arithmetic of face-alignment without its final truncation.

The library truncates points to whole pixels of the image; here they stay fractional. N faces, 68 points.
"""

import torch
from torch import Tensor

CELLS = 64

# Point i of a mirrored face is point _MIRROR[i] of the face (iBUG 300-W).
_MIRROR = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46,
    39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
]  # fmt: skip


def mirrored(heatmaps: Tensor) -> Tensor:
    """Map heatmaps [N,68,64,64] of mirrored crops to those of the original crops."""
    return heatmaps[:, _MIRROR].flip(3)


def cells(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """The index of each point's maximum, int64 [N,68], row by row, and the value there."""
    value, cell = heatmaps.flatten(2).max(dim=2)
    return cell, value


def points(heatmaps: Tensor, center: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """Points float64 [N,68,2] in edges of image pixels (the top left pixel covers 0 to 1), and values at the maxima [N,68].

    A point is the center of the maximum's cell, moved a quarter of a cell towards the higher neighbor on each axis.

    heatmaps: [N,68,64,64]
    center, side: see `crops.places`
    """
    cell, value = cells(heatmaps)
    column, row = cell % CELLS, cell // CELLS
    inside = (column > 0) & (column < CELLS - 1) & (row > 0) & (row < CELLS - 1)
    flat, safe = heatmaps.flatten(2), torch.where(inside, cell, CELLS + 1)
    across, down = (
        (flat.gather(2, (safe + step)[..., None]) - flat.gather(2, (safe - step)[..., None])).sign()[..., 0]
        for step in (1, CELLS)
    )
    shift = torch.stack([across, down], dim=2).double() * 0.25 * inside[..., None]
    at = torch.stack([column, row], dim=2).double() + 0.5 + shift
    center, side = center.to(at.device), side.to(at.device)
    return at * (side / CELLS)[:, None, None] + (center - side[:, None] / 2)[:, None], value
