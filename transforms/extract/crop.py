"""Crop recipes: how the stored square is placed in the source frame. The name of the recipe is recorded in the dataset.

    resize      the whole frame
    bbox        the annotated box, enlarged to a square around its center, shifted into the frame, padded only if necessary
    fomm-bbox   the annotated box as it is, clipped at the frame and squashed, as in FOMM's original repository
    inner-bbox  the largest square centered in the annotated box, as in CelebV-HQ's original repository
    track       the union of a face's boxes with a margin, square, shifted and padded as `bbox`
    fomm-track  the same, dropped if it leaves the frame, as in FOMM's original repository
    face        a square in proportion to eyes and mouth, see `transforms.extract.portrait`, shifted and padded as `bbox`

The window of a recipe is in whole source pixels, x0 y0 x1 y1 with the end exclusive, and may leave the frame. Frames are cropped
and scaled while decoding, so that full-size pixels never leave the decoder. If the pixels of a video are not square, a window
is square as displayed, and its sides are different numbers of pixels.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.frames import Crop, Frames, Placement
from motionshards.transforms.extract.decoder.limits import MAX_PIXELS

Window = tuple[int, int, int, int]

_SQUARE = Fraction(1)


def longer_side_px(box_px: NDArray[np.float64], pixel_aspect: Fraction) -> float:
    """The longer side of a box as displayed, float64 [4], in units of a pixel's height."""
    width, height = (box_px[2:] - box_px[:2]).tolist()
    return float(max(width * pixel_aspect, height))


def square_window(box_px: NDArray[np.float64], size_px: tuple[int, int], pixel_aspect: Fraction = _SQUARE) -> Window:
    """The recipe `bbox`.

    A square wider than the frame is centered on it on that axis.

    Args:
        box_px: float64 [4], edges x0 y0 x1 y1 in source pixels
        size_px: width and height of the frame
        pixel_aspect: width over height of a source pixel

    Raises:
        ClipRejected: bad_annotation, the box is empty, entirely outside the frame, or too large to be padded
    """
    _require_inside(box_px, size_px)
    longer = longer_side_px(box_px, pixel_aspect)
    sides = max(1, round(longer / float(pixel_aspect))), max(1, round(longer))
    if sides[0] * sides[1] > MAX_PIXELS:
        raise ClipRejected("bad_annotation", f"a window of {sides[0]}x{sides[1]} px in a frame of {size_px[0]}x{size_px[1]}")
    corner = []
    for center, extent, side in zip((box_px[:2] + box_px[2:]) / 2, size_px, sides, strict=True):
        start = round(float(center) - side / 2)
        corner.append(min(max(start, 0), extent - side) if side <= extent else round((extent - side) / 2))
    return corner[0], corner[1], corner[0] + sides[0], corner[1] + sides[1]


def exact_window(box_px: NDArray[np.float64], size_px: tuple[int, int], pixel_aspect: Fraction = _SQUARE) -> Window:
    """The recipe `fomm-bbox`: edges truncated to whole pixels as in the original repository, and clipped at the frame.

    The box is squashed to the square, so the pixel aspect is irrelevant.

    Raises:
        ClipRejected: bad_annotation, no pixel of the box is within the frame
    """
    _require_inside(box_px, size_px)
    limit = (*size_px, *size_px)
    x0, y0, x1, y1 = (min(max(int(edge), 0), end) for edge, end in zip(box_px.tolist(), limit, strict=True))
    if x1 <= x0 or y1 <= y0:
        raise ClipRejected("bad_annotation", f"no pixel in the box {x0} {y0} {x1} {y1}")
    return x0, y0, x1, y1


def inner_window(box_px: NDArray[np.float64], size_px: tuple[int, int], pixel_aspect: Fraction = _SQUARE) -> Window:
    """The recipe `inner-bbox`: edges rounded to whole pixels and clipped at the frame, then a square on the shorter side.

    Raises:
        ClipRejected: bad_annotation, the box is empty or outside the frame, or less than two pixels of it remain
    """
    _require_inside(box_px, size_px)
    limit = (*size_px, *size_px)
    x0, y0, x1, y1 = (min(max(round(edge), 0), end) for edge, end in zip(box_px.tolist(), limit, strict=True))
    half = min(int((x1 - x0) * pixel_aspect), y1 - y0) // 2
    across = round(half / pixel_aspect)
    if min(across, half) < 1:
        raise ClipRejected("bad_annotation", f"no square within the box {x0} {y0} {x1} {y1}")
    left, top = (x0 + x1) // 2 - across, (y0 + y1) // 2 - half
    return left, top, left + 2 * across, top + 2 * half


def tube_window(
    recipe: str, box_px: NDArray[np.float64], size_px: tuple[int, int], pixel_aspect: Fraction = _SQUARE, margin: float = 0.1
) -> Window:
    """The window of a tube.

    box_px: float64 [4], edges in source pixels: the union of its boxes; for `face` the square itself
    margin: of `track` and `fomm-track`, on each side, relative to the union's longer side; FOMM's original repository uses 0.1

    Raises:
        ClipRejected: tube_outside, the recipe is `fomm-track` and the window leaves the frame
    """
    if recipe == "face":
        return square_window(box_px, size_px, pixel_aspect)
    grown = with_margin(box_px, margin, pixel_aspect)
    return _window_inside(grown, size_px) if recipe == "fomm-track" else square_window(grown, size_px, pixel_aspect)


def _window_inside(box_px: NDArray[np.float64], size_px: tuple[int, int]) -> Window:
    """Edges truncated to whole pixels, as in FOMM's original repository."""
    x0, y0, x1, y1 = (int(edge) for edge in box_px)
    if min(x0, y0) < 0 or x1 > size_px[0] or y1 > size_px[1]:
        raise ClipRejected("tube_outside", f"{x0} {y0} {x1} {y1} in {size_px[0]}x{size_px[1]}")
    return x0, y0, x1, y1


def with_margin(box_px: NDArray[np.float64], margin: float, pixel_aspect: Fraction) -> NDArray[np.float64]:
    """A square around the box as displayed, its longer side plus `margin` times that on each side."""
    side = longer_side_px(box_px, pixel_aspect) * (1 + 2 * margin)
    center, sides = (box_px[:2] + box_px[2:]) / 2, np.array([side / float(pixel_aspect), side])
    return np.concatenate([center - sides / 2, center + sides / 2])


PlaceWindow = Callable[[NDArray[np.float64], tuple[int, int], Fraction], Window]

WINDOWS: dict[str, PlaceWindow] = {
    "bbox": square_window,
    "fomm-bbox": exact_window,
    "inner-bbox": inner_window,
}


def _require_inside(box_px: NDArray[np.float64], size_px: tuple[int, int]) -> None:
    shown = " ".join(f"{edge:g}" for edge in box_px)
    if not np.isfinite(box_px).all() or (box_px[2:] <= box_px[:2]).any():
        raise ClipRejected("bad_annotation", f"the box {shown} is empty")
    if (box_px[2:] <= 0).any() or (box_px[:2] >= size_px).any():
        raise ClipRejected("bad_annotation", f"the box {shown} is outside the {size_px[0]}x{size_px[1]} frame")


def as_crop(parts: list[tuple[int, NDArray[np.int64], Frames]]) -> Crop:
    """Concatenate frames of one or several spans, each (span number, frame numbers, frames), into one crop."""
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
        display=frames[0].display,
        search=tuple(image for part in frames for image in part.search),
    )
