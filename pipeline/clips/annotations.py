"""Annotated face positions: the box of a span in source pixels, and the frames it applies to.

VoxCeleb annotation files have header lines, a blank line, then one `FRAME X Y W H` line per frame. FRAME counts in units of
1/25 s, whatever the frame rate. Boxes are in pixels of a frame scaled to 360 px height (VoxCeleb1) or fractions (VoxCeleb2).
"""

import os
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.inputs.foreign import lines_of
from motionshards.pipeline.inputs.unpack import Root, content
from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.records import Span
from motionshards.transforms.extract.timeline import Timeline

FRAME_RATE_HZ = 25.0
_HEIGHT_PX = 360.0
_SAME_TIME_S = 1e-6
_LARGEST = 1e9


@dataclass(frozen=True, slots=True)
class Annotation:
    """The resolved annotation of a span.

    start_s, end_s: seconds from the first frame, end exclusive
    box_px: box that contains the face in all frames, edges x0 y0 x1 y1 in source pixels, float64 [4]; None if not annotated
    numbers, boxes_px: per-frame boxes, ascending frame numbers int64 [n] at 25 Hz and boxes float64 [n,4]; None if not annotated
    by_number: times are frame numbers divided by the nominal rate, as in FOMM's lists, and are compared with nominal times
    span_frames: first frame and the one after the last, if annotated instead of times
    """

    start_s: float
    end_s: float
    box_px: NDArray[np.float64] | None = None
    numbers: NDArray[np.int64] | None = None
    boxes_px: NDArray[np.float64] | None = None
    by_number: bool = False
    span_frames: tuple[int, int] | None = None

    def bounds_s(self, line: Timeline) -> tuple[float, float]:
        """Start and end within the file, seconds from its first frame."""
        if self.span_frames is None:
            return self.start_s, self.end_s
        frame_s = line.duration_s / max(1, len(line.raw_s))
        return self.span_frames[0] * frame_s, self.span_frames[1] * frame_s

    def frames(self, line: Timeline) -> NDArray[np.int64]:
        """Frame numbers that belong to the annotation, int64, ascending."""
        if self.span_frames is not None:
            return np.arange(len(line.raw_s))[slice(*self.span_frames)]
        if self.by_number:
            times, slack = line.nominal_s, 0.0
        else:
            times, slack = line.pts_s, _SAME_TIME_S
        return np.flatnonzero((times >= self.start_s - slack) & (times < self.end_s - slack))

    def box_at(self, time_s: float) -> NDArray[np.float64] | None:
        """Box of the face at a time, float64 [4]; None if not annotated."""
        if self.numbers is None or self.boxes_px is None:
            return self.box_px
        # For a frame that is missing in the annotation file, use the previous box.
        before = np.searchsorted(self.numbers, int((time_s + _SAME_TIME_S) * FRAME_RATE_HZ), side="right") - 1
        return np.asarray(self.boxes_px[max(int(before), 0)])


def annotation(span: Span, root: Root, size_px: tuple[int, int], pixel_aspect: Fraction = Fraction(1)) -> Annotation:
    """Resolve the annotation of a span for a video with frame size `size_px` and the given pixel aspect ratio.

    Boxes with a reference frame are relative to its size, whether that is the stored or the displayed frame. Boxes for which
    only the height is known (360 px in VoxCeleb1) refer to the displayed frame.

    Per-frame boxes are merged into their union, so that the crop does not move and contains the face in every frame.

    Raises:
        ClipRejected: bad_annotation, unreadable
    """
    if span.track_uri is not None:
        name = os.path.basename(span.track_uri)
        return _from_track(name, content(span.track_uri, span.track_packed, root), size_px, pixel_aspect)
    known = Annotation(span.start_s, span.end_s, span_frames=span.frames)
    if span.box is None or span.reference_px is None:
        return known
    width, height = span.reference_px
    box, extent = np.array(span.box, np.float64), np.tile(np.array(size_px, np.float64), 2)
    reference = np.tile([width or float(size_px[0] * pixel_aspect) * height / size_px[1], height], 2)
    # Divide in the same order as the authors of each list, so that rounding to whole pixels gives the same result.
    if span.frames is not None or span.shown_times:
        return replace(known, box_px=box / reference * extent)
    return replace(known, box_px=box / (reference / extent), by_number=True)


def _from_track(name: str, text: bytes, size_px: tuple[int, int], pixel_aspect: Fraction) -> Annotation:
    frames, boxes, fractions = read_track(name, text)
    scale = np.array(size_px, np.float64) if fractions else size_px[1] / _HEIGHT_PX / np.array([float(pixel_aspect), 1.0])
    edges = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) * np.tile(scale, 2)
    union = np.concatenate([edges[:, :2].min(axis=0), edges[:, 2:].max(axis=0)])
    return Annotation(frames[0] / FRAME_RATE_HZ, (frames[-1] + 1) / FRAME_RATE_HZ, union, frames, edges)


def read_track(name: str, text: bytes) -> tuple[NDArray[np.int64], NDArray[np.float64], bool]:
    """Parse a VoxCeleb annotation file.

    Returns ascending frame numbers int64 [n], boxes float64 [n,4] x y w h, and whether boxes are fractions of the frame size.

    Raises:
        ClipRejected: bad_annotation, naming line and field
    """
    lines = lines_of(text)
    header = next((n for n, line in enumerate(lines) if line.split() == ["FRAME", "X", "Y", "W", "H"]), None)
    if header is None:
        raise ClipRejected("bad_annotation", f"{name} has no line FRAME X Y W H")
    rows = [_row(name, number, line) for number, line in enumerate(lines[header + 1 :], header + 2) if line.strip()]
    if not rows:
        raise ClipRejected("bad_annotation", f"{name} has no boxes")
    values = np.array(sorted(rows))
    fractions = any("." in line for line in lines[header + 1 :])
    return values[:, 0].astype(np.int64), values[:, 1:], fractions


def _row(name: str, number: int, line: str) -> list[float]:
    cells = line.split()
    if len(cells) != 5:
        raise ClipRejected("bad_annotation", f"{name} line {number}: {len(cells)} fields, expected 5")
    row = []
    for column, cell in zip(("FRAME", "X", "Y", "W", "H"), cells, strict=True):
        value = _finite(cell)
        if value is None:
            raise ClipRejected("bad_annotation", f"{name} line {number}: {column} is {cell[:40]!r}, must be a number")
        row.append(value)
    return row


def _finite(cell: str) -> float | None:
    """Parse a number of plausible size for a frame or a pixel; None otherwise."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if abs(value) < _LARGEST else None
