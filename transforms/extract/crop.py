"""Crop recipes: how the stored square is placed in the source frame. The name of the recipe is stored with the data set.

    resize      the whole frame
    bbox        the annotated box, grown to a square around its centre, shifted into the frame, padded only where it must be
    fomm-bbox   the annotated box as it is, cut at the frame and squashed: what the authors of FOMM do
    track       the union of a face's boxes with a margin, square, shifted and padded as `bbox`
    fomm-track  the same, dropped where it leaves the frame: what the authors of FOMM do

The window of a recipe is whole source pixels, x0 y0 x1 y1 with the end exclusive, and may leave the frame. Cutting and
scaling are done while decoding, so that full-size pixels never leave ffmpeg.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ClipRejected
from schemas.records import Crop, Frames, Placement

Window = tuple[int, int, int, int]

# `increase` of FOMM's authors.
MARGIN = 0.1


def square_window(box_px: NDArray[np.float64], size_px: tuple[int, int]) -> Window:
    """The recipe `bbox`. box_px: float64 [4], edges x0 y0 x1 y1 in source pixels; size_px: width and height of the frame.

    A square wider than the frame is centred on it on that axis.

    Raises:
        ClipRejected: bad_annotation, the box is empty or wholly outside the frame
    """
    _require_inside(box_px, size_px)
    side = max(1, round(float((box_px[2:] - box_px[:2]).max())))
    corner = []
    for centre, extent in zip((box_px[:2] + box_px[2:]) / 2, size_px, strict=True):
        start = round(float(centre) - side / 2)
        corner.append(min(max(start, 0), extent - side) if side <= extent else round((extent - side) / 2))
    return corner[0], corner[1], corner[0] + side, corner[1] + side


def exact_window(box_px: NDArray[np.float64], size_px: tuple[int, int]) -> Window:
    """The recipe `fomm-bbox`: edges truncated to whole pixels as the authors do, and cut at the frame.

    Raises:
        ClipRejected: bad_annotation, nothing of the box is left
    """
    _require_inside(box_px, size_px)
    limit = (*size_px, *size_px)
    x0, y0, x1, y1 = (min(max(int(edge), 0), end) for edge, end in zip(box_px.tolist(), limit, strict=True))
    if x1 <= x0 or y1 <= y0:
        raise ClipRejected("bad_annotation", f"no pixel in the box {x0} {y0} {x1} {y1}")
    return x0, y0, x1, y1


def tube_window(box_px: NDArray[np.float64], size_px: tuple[int, int]) -> Window:
    """The recipe `track`. box_px: float64 [4], the union of a tube's boxes, edges in source pixels."""
    return square_window(_with_margin(box_px), size_px)


def fomm_tube_window(box_px: NDArray[np.float64], size_px: tuple[int, int]) -> Window:
    """The recipe `fomm-track`: edges truncated to whole pixels as the authors do.

    Raises:
        ClipRejected: tube_outside, it leaves the frame
    """
    x0, y0, x1, y1 = (int(edge) for edge in _with_margin(box_px))
    if min(x0, y0) < 0 or x1 > size_px[0] or y1 > size_px[1]:
        raise ClipRejected("tube_outside", f"{x0} {y0} {x1} {y1} in {size_px[0]}x{size_px[1]}")
    return x0, y0, x1, y1


def _with_margin(box_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """A square about the box, as wide as its longer side and `MARGIN` of that on each side."""
    centre, side = (box_px[:2] + box_px[2:]) / 2, float((box_px[2:] - box_px[:2]).max()) * (1 + 2 * MARGIN)
    return np.concatenate([centre - side / 2, centre + side / 2])


WINDOWS: dict[str, Callable[[NDArray[np.float64], tuple[int, int]], Window]] = {
    "bbox": square_window,
    "fomm-bbox": exact_window,
}
TUBE_WINDOWS: dict[str, Callable[[NDArray[np.float64], tuple[int, int]], Window]] = {
    "track": tube_window,
    "fomm-track": fomm_tube_window,
}


def _require_inside(box_px: NDArray[np.float64], size_px: tuple[int, int]) -> None:
    shown = " ".join(f"{edge:g}" for edge in box_px)
    if not np.isfinite(box_px).all() or (box_px[2:] <= box_px[:2]).any():
        raise ClipRejected("bad_annotation", f"the box {shown} is empty")
    if (box_px[2:] <= 0).any() or (box_px[:2] >= size_px).any():
        raise ClipRejected("bad_annotation", f"the box {shown} is outside the {size_px[0]}x{size_px[1]} frame")


def as_crop(parts: list[tuple[int, NDArray[np.int64], Frames]]) -> Crop:
    """Frames of one or several spans, each (span number, frame numbers, frames), as one crop."""
    frames = [part for _, _, part in parts]
    return Crop(
        rgb=np.concatenate([part.rgb for part in frames]),
        placement=Placement(
            span=np.concatenate([np.full(len(index), span, np.int32) for span, index, _ in parts]),
            index=np.concatenate([index.astype(np.int32) for _, index, _ in parts]),
            pts_s=np.concatenate([part.pts_s for part in frames]),
            source_size_px=np.concatenate([part.source_size_px for part in frames]),
            content_px=np.concatenate([part.content_px for part in frames]),
            source_to_crop=np.concatenate([part.source_to_frame for part in frames]),
        ),
    )
