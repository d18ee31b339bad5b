"""What is made of a decoded frame: the stored square, an image for a detector, every frame for another program; and where in
the source they lie.

Source pixels and image pixels: x right, y down, the centre of the top left pixel is (0, 0).
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.frames import require
from motionshards.transforms.extract.crop import Window
from motionshards.transforms.extract.decoder.filters import GREY, RGB, Filter, scaled
from motionshards.transforms.extract.timeline import Timeline

# Of all pixel formats; and a grid whose multiples are whole samples of chroma.
_CHROMA_PX, _CUT_PX = 4, 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is made of a frame.

    filters: of FFmpeg; they end with `rgb24` or `gray`
    only: of which frames, by their places among those that are asked for; None for all
    """

    filters: tuple[Filter, ...]
    only: tuple[int, ...] | None = None


class FrameSink(Protocol):
    """Takes all frames of a stretch, one at a time."""

    def begin(self) -> None:
        """Forget all frames: decoding starts, maybe again."""

    def take(self, image: NDArray[np.uint8]) -> None:
        """Take the next frame, uint8 [H,W,3], RGB."""


@dataclass(frozen=True, slots=True)
class AllFrames:
    """All frames of a stretch for another reader, from the decoding of those that are stored.

    indices: int64 [F], ascending; the stored frames are among them
    size_px: width and height of the images, which show the same part of the source in square pixels
    """

    indices: NDArray[np.int64]
    size_px: tuple[int, int]
    sink: FrameSink

    def wanted(self, timeline: Timeline, window: Window | None) -> Wanted:
        """The image of each frame."""
        part = () if window is None else window_at_source_scale(window, timeline.size_px, RGB)
        return Wanted((*part, scaled(*self.size_px), RGB))


@dataclass(frozen=True, slots=True)
class ToVideo:
    """A video of the stored square at a constant rate, from the decoding of the frames that are stored.

    frames: int64 [M], numbers in the file, ascending, with repeats; frame i of the video shows the i-th
    rate: frames per second
    crf: of x264, the lower the better
    psnr_db: raise crf in steps of 2 up to 32 while the first 48 frames keep this quality; None for no search
    copy: copy the packets of the file where these are all its frames, as they are: H.264 in 4:2:0, upright, of this size

    Raises:
        ValueError: `frames` is empty or not ascending
    """

    frames: NDArray[np.int64]
    rate: Fraction
    crf: int = 18
    psnr_db: float | None = None
    copy: bool = False

    def __post_init__(self) -> None:
        require(len(self.frames) > 0 and bool((np.diff(self.frames) >= 0).all()), "the frames of a video are not ascending")

    def order(
        self, asked: NDArray[np.int64], size: int, whole: str | None, timeline: Timeline, picture: int
    ) -> dict[str, object]:
        """The order for the decoder, as of `decoder.stored.encode`.

        asked: int64, ascending, the numbers of all frames that are decoded
        whole: how the whole frame fills the square; None where it shows a window
        picture: which of the pictures of a frame is the square
        """
        require(size % 2 == 0, f"frames of {size} px cannot be H.264 in yuv420p, which needs an even size")
        return {
            "shown": np.searchsorted(asked, self.frames).tolist(),
            "size": size,
            "rate": [self.rate.numerator, self.rate.denominator],
            "whole": whole,
            "picture": picture,
            "crf": self.crf,
            "psnr_db": self.psnr_db,
            "copy": self.copy and whole is not None and self._unchanged(timeline, size),
        }

    def _unchanged(self, timeline: Timeline, size: int) -> bool:
        """Whether each frame of the file is shown once, in square pixels of the stored size."""
        same = timeline.size_px == (size, size) and timeline.pixel_aspect == 1 and not timeline.hdr
        return same and np.array_equal(self.frames, np.arange(len(timeline.raw_s)))


@dataclass(frozen=True, slots=True)
class Search:
    """What is decoded besides the stored frames, for a detector of faces: the same part of the source in square pixels.

    grey: in grey, else in RGB and only where that is finer than the stored frame
    scale: of the source, more than 0 and at most 1
    """

    grey: bool
    scale: float

    def wanted(self, timeline: Timeline, window: Window | None, size: int) -> Wanted | None:
        """The picture of each frame; None where the stored frame of this size is searched."""
        color = GREY if self.grey else RGB
        x0, y0, x1, y1 = window or (0, 0, *timeline.size_px)
        if not self.grey and max(float((x1 - x0) * timeline.pixel_aspect), y1 - y0) * self.scale <= size:
            return None
        # Square pixels with as many of them: an extreme pixel aspect is not to make large pictures.
        width, height = (f"max(16,round({side}*{self.scale:.6f}*sqrt({by})))" for side, by in (("iw", "sar"), ("ih", "1/sar")))
        part = () if window is None else window_at_source_scale(window, timeline.size_px, color)
        return Wanted((*part, scaled(width, height), color))


@dataclass(frozen=True, slots=True)
class Resized:
    """The stored frame at further sizes, each scaled from the source as if it were the only one.

    sizes_px: height and width of each
    indices: int64 [S], ascending, the frames whose pixels are wanted, all among the stored ones
    """

    sizes_px: tuple[int, ...] = ()
    indices: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Besides:
    """What one pass of the decoder makes besides the stored frames.

    search: pictures for a detector; None if the stored frames are searched, or none
    every: what takes all frames of the stretch; None if only the stored ones are wanted
    video: a video of the stored square at a constant rate, at each size; None for no video
    resized: the stored frames at further sizes
    """

    search: Search | None = None
    every: AllFrames | None = None
    video: ToVideo | None = None
    resized: Resized = Resized()

    def asked(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """All frames that something is made of, the stored `indices` among them; int64, ascending."""
        more = [indices, *(one.indices for one in (self.every,) if one), *(one.frames for one in (self.video,) if one)]
        return np.unique(np.concatenate(more)) if len(more) > 1 else indices


def stored_square(size: int, fit: str, window: Window | None, frame_px: tuple[int, int]) -> Wanted:
    """The stored square of a size: that of the window, or of the whole frame where there is none."""
    return whole_square(size, fit) if window is None else window_square(size, window, frame_px)


def whole_square(size: int, fit: str) -> Wanted:
    """The whole frame in a square; `pad` keeps its aspect and centres it on black."""
    width, height = ("if(gte(dar,1),{0},max(1,round({0}*dar)))", "if(gte(dar,1),max(1,round({0}/dar)),{0})")
    if fit != "pad":
        width = height = "{0}"
    place = f"{size}:{size}:x=floor((ow-iw)/2):y=floor((oh-ih)/2)"
    return Wanted((scaled(width.format(size), height.format(size)), RGB, ("pad", place)))


def window_square(size: int, window: Window, frame_px: tuple[int, int]) -> Wanted:
    """The window of a frame, scaled to a square."""
    return Wanted((*window_at_source_scale(window, frame_px, RGB), scaled(size, size), RGB))


def window_at_source_scale(window: Window, frame_px: tuple[int, int], color: Filter) -> tuple[Filter, ...]:
    """The window at the source's scale. The color is converted first: cutting halved chroma at odd pixels would move colors."""
    near = _around(window, frame_px)
    cut, (x0, y0, x1, y1), frame_px = near or ((), window, frame_px)
    left, top = max(0, -x0), max(0, -y0)
    width, height = (max(end, extent) + before for end, extent, before in zip((x1, y1), frame_px, (left, top), strict=True))
    filters = [*cut, scaled("iw", "ih"), color]
    if (width, height) != frame_px:
        filters.append(("pad", f"{width}:{height}:x={left}:y={top}"))
    return *filters, ("crop", f"{x1 - x0}:{y1 - y0}:{x0 + left}:{y0 + top}")


def _around(window: Window, frame_px: tuple[int, int]) -> tuple[tuple[Filter, ...], Window, tuple[int, int]] | None:
    """A cut around the window, then the window in what is left, and the size of that; None where nothing is gained.

    Converted alone it has the same bytes: it is wide enough for the filters of chroma and begins at a whole sample of it. Where
    a side is not a multiple of subsampling, swscale spaces chroma unevenly, and the whole frame is converted.
    """
    if any(extent % _CHROMA_PX for extent in frame_px):
        return None
    low = [max(0, start // _CUT_PX - 2) * _CUT_PX for start in window[:2]]
    high = [min(extent, (end // _CUT_PX + 3) * _CUT_PX) for end, extent in zip(window[2:], frame_px, strict=True)]
    width, height = high[0] - low[0], high[1] - low[1]
    if (width, height) == frame_px or min(width, height) <= 0:
        return None
    x0, y0, x1, y1 = window
    moved = x0 - low[0], y0 - low[1], x1 - low[0], y1 - low[1]
    return (("crop", f"{width}:{height}:{low[0]}:{low[1]}"),), moved, (width, height)


def content_sizes(source_px: NDArray[np.int32], pixel: list[Fraction], size: int, fit: str) -> NDArray[np.int32]:
    """Width and height of whole frames in a square of `size`, as `_whole` scales them, int32 [T,2]."""
    if fit != "pad":
        return np.full_like(source_px, size)
    dar = source_px[:, 0] / source_px[:, 1] * np.array([float(one) for one in pixel])
    wide = np.where(dar >= 1, size, np.maximum(1, np.floor(size * dar + 0.5)))
    high = np.where(dar >= 1, np.maximum(1, np.floor(size / dar + 0.5)), size)
    return np.stack([wide, high], axis=1).astype(np.int32)


def window_place(window: Window, source_size: NDArray[np.int32], size: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Affine float64 [T,2,3] and content box int32 [T,4] of frames of `source_size` [T,2] cut by a window."""
    low, high = np.array(window[:2]), np.array(window[2:])
    scale = size / (high - low)
    affine = np.zeros((len(source_size), 2, 3))
    affine[:, [0, 1], [0, 1]] = scale
    affine[:, :, 2] = 0.5 * scale - 0.5 - low * scale
    first = np.ceil((np.zeros_like(source_size) - low).clip(min=0) * scale)
    last = np.floor((np.minimum(source_size, high) - low) * scale)
    return affine, np.hstack([first, last]).astype(np.int32)


def resize_affine(
    source_size: NDArray[np.int32], content_size: NDArray[np.int32], corner: NDArray[np.int32]
) -> NDArray[np.float64]:
    """float64 [T,2,3] that takes source pixels to pixels of the resized picture whose top left pixel is at `corner`."""
    scale = content_size / source_size
    affine = np.zeros((len(scale), 2, 3))
    affine[:, [0, 1], [0, 1]] = scale
    affine[:, :, 2] = 0.5 * scale - 0.5 + corner
    return affine
