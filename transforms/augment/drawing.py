"""Landmark images: the 68 landmarks as antialiased colored lines on white, the input of the talking-heads model.

The coverage of a pixel is the overlap of a strip as wide as the line with a strip one pixel wide around the pixel's center,
measured across the line: exact for horizontal and vertical lines. Ends and corners are round. The distance is the one to the
nearest segment of a color, so that a color covers no pixel twice; later colors are drawn over earlier ones.

Lines touch few pixels. The image is therefore cut into tiles, and distances are computed only where a segment comes near a
tile: for a typical face, one in seventy pairs of pixels and segments.
"""

from itertools import pairwise

import torch
from torch import Tensor

SEED_WIDTH_PX = 200 / 72
"""Line width in the training data of the published talking-heads models: 2 points at 100 dots per inch, 2.78 px."""

COLORS = (
    ((0, 128, 0), (range(0, 17),)),  # jaw
    ((255, 165, 0), (range(17, 22), range(22, 27))),  # brows
    ((0, 0, 255), (range(27, 31), range(31, 36))),  # nose: ridge, foot
    ((255, 0, 0), (range(36, 42), range(42, 48))),  # eyes, open below
    ((128, 0, 128), (range(48, 60),)),  # outer lips, not closed; the inner ones are not drawn
)
"""RGB, 0 to 255, and the polylines of that color as landmark numbers, in drawing order."""

_SEGMENTS = [(layer, *ends) for layer, (_, lines) in enumerate(COLORS) for line in lines for ends in pairwise(line)]
_LAYER, _START, _END = (list(column) for column in zip(*_SEGMENTS, strict=True))
_TILE_PX = 16
_CPU_IMAGES = 4  # at a time: what fits in a CPU's cache


@torch.no_grad()
def landmark_images(
    points: Tensor, size: int | tuple[int, int], width_px: float = SEED_WIDTH_PX, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Draw `points` [B,68,2], x y in pixels of the image, any float dtype: RGB [B,3,height,width] of `dtype` in [0, 1].

    `size`: (height, width), or the side of a square. Segments with a non-finite end are skipped, so a frame without a face
    is white. Computed in float32, without gradients. Synchronizes a GPU, because the host needs the number of touched tiles.

    Raises:
        ValueError: `points` has another shape, or `width_px` is not above 0
    """
    if points.ndim != 3 or points.shape[1:] != (68, 2) or not width_px > 0:
        raise ValueError(f"points must be [B,68,2] and width_px above 0, not {list(points.shape)} and {width_px}")
    size = (size, size) if isinstance(size, int) else size
    result = torch.empty(len(points), 3, *size, dtype=dtype, device=points.device)
    step = _CPU_IMAGES if points.device.type == "cpu" else max(1, len(points))
    for first in range(0, len(points), step):
        part = slice(first, first + step)
        result[part] = _drawn(points[part].float(), size, width_px)
    return result


def _drawn(points: Tensor, size: tuple[int, int], width_px: float) -> Tensor:
    rows, columns = (-(-length // _TILE_PX) for length in size)
    start, along = points[:, _START], points[:, _END] - points[:, _START]
    image, tile, segment = _near(start, along, rows, columns, width_px).unbind(1)
    squared = _squared_distances(start[image, segment], along[image, segment], tile, columns)
    touched, coverage = _coverage(squared, image * (rows * columns) + tile, segment, width_px)
    canvas = points.new_ones(len(points) * rows * columns, 3, _TILE_PX**2)
    canvas[touched] = _painted(coverage)
    tiles = canvas.view(len(points), rows, columns, 3, _TILE_PX, _TILE_PX).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(len(points), 3, rows * _TILE_PX, columns * _TILE_PX)[..., : size[0], : size[1]]


def _near(start: Tensor, along: Tensor, rows: int, columns: int, width_px: float) -> Tensor:
    """int64 [P,3]: image, tile and segment wherever a line is near enough to a tile's center to touch the tile."""
    middle = _TILE_PX / 2 - 0.5
    centers = _cells(rows, columns, start.device) * _TILE_PX + middle
    reach = width_px / 2 + 0.5 + middle * 2**0.5
    return (_squared_distance(centers[:, None] - start[:, None], along[:, None]) < reach**2).nonzero()  # NaN is never near


def _squared_distances(start: Tensor, along: Tensor, tile: Tensor, columns: int) -> Tensor:
    """Squared distance of each pixel of a tile from a segment, for P pairs of tile and segment: [P,pixels]."""
    corner = torch.stack([tile % columns, tile // columns], dim=1) * _TILE_PX
    pixels = _cells(_TILE_PX, _TILE_PX, start.device)
    return _squared_distance((corner - start)[:, None] + pixels, along[:, None])


def _coverage(squared: Tensor, tile: Tensor, segment: Tensor, width_px: float) -> tuple[Tensor, Tensor]:
    """The touched tiles, int64 [A], and the coverage of their pixels by each color, [A,colors,pixels] in [0, 1].

    `squared` [P,pixels] are the squared distances of pairs of `tile` and `segment`, [P], ordered by tile.
    """
    touched, number = torch.unique_consecutive(tile, return_inverse=True)
    nearest = squared.new_full((len(touched) * len(COLORS), _TILE_PX**2), torch.inf)
    place = number * len(COLORS) + torch.tensor(_LAYER, device=tile.device)[segment]
    nearest.scatter_reduce_(0, place[:, None].expand_as(squared), squared, "amin")
    coverage = (width_px / 2 + 0.5 - nearest.sqrt_()).clamp_(0, min(1.0, width_px))
    return touched, coverage.view(len(touched), len(COLORS), _TILE_PX**2)


def _painted(coverage: Tensor) -> Tensor:
    """White tiles with the colors drawn over them in order, [A,3,pixels]."""
    canvas = coverage.new_ones(len(coverage), 3, coverage.shape[2])
    for layer, (rgb, _) in enumerate(COLORS):
        canvas += coverage[:, layer, None] * (coverage.new_tensor(rgb).view(3, 1) / 255 - canvas)
    return canvas


def _squared_distance(offset: Tensor, along: Tensor) -> Tensor:
    """Squared distance of points at `offset` [...,2] from the start of segments `along` [...,2], which may have length 0."""
    (x, y), (dx, dy) = offset.unbind(-1), along.unbind(-1)
    share = ((x * dx + y * dy) / (dx * dx + dy * dy).clamp(min=1e-12)).clamp_(0, 1)
    return (x - share * dx).square_() + (y - share * dy).square_()


def _cells(rows: int, columns: int, device: torch.device) -> Tensor:
    """int64 [rows*columns,2], x and y of each cell of a raster, row by row."""
    x, y = torch.meshgrid(torch.arange(columns, device=device), torch.arange(rows, device=device), indexing="xy")
    return torch.stack([x, y], dim=-1).flatten(0, 1)
