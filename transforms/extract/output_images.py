"""Images to make of a decoded frame: the stored square, an image for a detector, all frames for another program; and their
position in the source.

Source pixels and image pixels: x right, y down, the center of the top left pixel is (0, 0).
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.frames import require
from motionshards.transforms.extract.crop import Window
from motionshards.transforms.extract.decoder.filters import GRAY, RGB, Filter, scaled
from motionshards.transforms.extract.timeline import Timeline

# Coarsest chroma subsampling of all pixel formats; and a grid that is aligned to chroma samples.
_CHROMA_PX, _CUT_PX = 4, 16


@dataclass(frozen=True, slots=True)
class OutputImage:
    """An image to make of frames.

    filters: chain of FFmpeg filters, which ends with `rgb24` or `gray`
    only: indices of the frames among the requested ones; None for all
    """

    filters: tuple[Filter, ...]
    only: tuple[int, ...] | None = None


class FrameSink(Protocol):
    """Receives all frames of an interval, one at a time."""

    def begin(self) -> None:
        """Discard all frames: decoding starts, or starts over."""

    def take(self, image: NDArray[np.uint8]) -> None:
        """Receive the next frame, uint8 [H,W,3], RGB."""


@dataclass(frozen=True, slots=True)
class AllFrames:
    """All frames of an interval for another reader, from the same decoding pass as the stored frames.

    indices: int64 [F], ascending; include the stored frames
    size_px: width and height of the images, which show the same part of the source in square pixels
    """

    indices: NDArray[np.int64]
    size_px: tuple[int, int]
    sink: FrameSink

    def output_image(self, timeline: Timeline, window: Window | None) -> OutputImage:
        """The image to make of each frame."""
        part = () if window is None else window_at_source_scale(window, timeline.size_px, RGB)
        return OutputImage((*part, scaled(*self.size_px), RGB))


@dataclass(frozen=True, slots=True)
class ToVideo:
    """A video of the stored square at a constant rate, from the same decoding pass as the stored frames.

    frames: int64 [M], frame numbers in the file, ascending, with repeats; frame i of the video shows the i-th
    rate: frames per second
    crf: x264's constant rate factor; lower is better
    psnr_db: raise crf in steps of 2 up to 32 while the first 48 frames keep this quality; None for no search
    copy: copy the packets of the file if they can be stored unchanged: all its frames, H.264 in 4:2:0, upright, of this size

    Raises:
        ValueError: `frames` is empty or not ascending
    """

    frames: NDArray[np.int64]
    rate: Fraction
    crf: int = 18
    psnr_db: float | None = None
    copy: bool = False

    def __post_init__(self) -> None:
        require(len(self.frames) > 0 and bool((np.diff(self.frames) >= 0).all()), "frame numbers of a video must be ascending")

    def order(
        self, requested: NDArray[np.int64], size: int, whole: str | None, timeline: Timeline, image: int
    ) -> dict[str, object]:
        """The order for the decoder, see `decoder.stored.encode`.

        requested: int64, ascending, numbers of all decoded frames
        whole: how the whole frame fills the square; None if it shows a window
        image: index of the square among the images of a frame
        """
        require(size % 2 == 0, f"frames of {size} px cannot be encoded as H.264 in yuv420p, which requires an even size")
        return {
            "shown": np.searchsorted(requested, self.frames).tolist(),
            "size": size,
            "rate": [self.rate.numerator, self.rate.denominator],
            "whole": whole,
            "image": image,
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
    """Images for a face detector in addition to the stored frames: the same part of the source in square pixels.

    gray: make them in gray; else in RGB, and only if that is finer than the stored frame
    scale: scale relative to the source, above 0 and at most 1
    """

    gray: bool
    scale: float

    def output_image(self, timeline: Timeline, window: Window | None, size: int) -> OutputImage | None:
        """The image to make of each frame; None if the stored frame of this size is searched."""
        color = GRAY if self.gray else RGB
        x0, y0, x1, y1 = window or (0, 0, *timeline.size_px)
        if not self.gray and max(float((x1 - x0) * timeline.pixel_aspect), y1 - y0) * self.scale <= size:
            return None
        # The conversion to square pixels keeps their number, so that an extreme pixel aspect does not make large images.
        width, height = (f"max(16,round({side}*{self.scale:.6f}*sqrt({by})))" for side, by in (("iw", "sar"), ("ih", "1/sar")))
        part = () if window is None else window_at_source_scale(window, timeline.size_px, color)
        return OutputImage((*part, scaled(width, height), color))


@dataclass(frozen=True, slots=True)
class Resized:
    """The stored frame at additional sizes, each scaled from the source independently.

    sizes_px: height and width of each
    indices: int64 [S], ascending, frames to return as pixels, all among the stored ones
    """

    sizes_px: tuple[int, ...] = ()
    indices: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class ExtraOutputs:
    """Outputs of a decoding pass in addition to the stored frames.

    search: images for a detector; None if the stored frames are searched, or none
    every: all frames of the interval for another reader; None for no such reader
    video: a video of the stored square at a constant rate, at each size; None for no video
    resized: the stored frames at additional sizes
    """

    search: Search | None = None
    every: AllFrames | None = None
    video: ToVideo | None = None
    resized: Resized = Resized()

    def requested(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """All frames to decode, including the stored `indices`; int64, ascending."""
        more = [indices, *(one.indices for one in (self.every,) if one), *(one.frames for one in (self.video,) if one)]
        return np.unique(np.concatenate(more)) if len(more) > 1 else indices


def stored_square(size: int, fit: str, window: Window | None, frame_px: tuple[int, int]) -> OutputImage:
    """The stored square of a size: the window, or the whole frame if there is none."""
    return whole_square(size, fit) if window is None else window_square(size, window, frame_px)


def whole_square(size: int, fit: str) -> OutputImage:
    """The whole frame scaled to a square; `pad` keeps its aspect and centers it on black."""
    width, height = ("if(gte(dar,1),{0},max(1,round({0}*dar)))", "if(gte(dar,1),max(1,round({0}/dar)),{0})")
    if fit != "pad":
        width = height = "{0}"
    place = f"{size}:{size}:x=floor((ow-iw)/2):y=floor((oh-ih)/2)"
    return OutputImage((scaled(width.format(size), height.format(size)), RGB, ("pad", place)))


def window_square(size: int, window: Window, frame_px: tuple[int, int]) -> OutputImage:
    """The window of a frame, scaled to a square."""
    return OutputImage((*window_at_source_scale(window, frame_px, RGB), scaled(size, size), RGB))


def window_at_source_scale(window: Window, frame_px: tuple[int, int], color: Filter) -> tuple[Filter, ...]:
    """The window at the source's scale. Color is converted first: cropping subsampled chroma at odd pixels would shift it."""
    near = _around(window, frame_px)
    cut, (x0, y0, x1, y1), frame_px = near or ((), window, frame_px)
    left, top = max(0, -x0), max(0, -y0)
    width, height = (max(end, extent) + before for end, extent, before in zip((x1, y1), frame_px, (left, top), strict=True))
    filters = [*cut, scaled("iw", "ih"), color]
    if (width, height) != frame_px:
        filters.append(("pad", f"{width}:{height}:x={left}:y={top}"))
    return *filters, ("crop", f"{x1 - x0}:{y1 - y0}:{x0 + left}:{y0 + top}")


def _around(window: Window, frame_px: tuple[int, int]) -> tuple[tuple[Filter, ...], Window, tuple[int, int]] | None:
    """A crop around the window, the window within it, and the size of the crop; None if cropping first would not save work.

    Converting the crop alone results in the same bytes: it is wide enough for the chroma filters and starts at a whole chroma
    sample. If a side is not a multiple of the subsampling, swscale spaces chroma unevenly, and the whole frame is converted.
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
    """Width and height of whole frames in a square of `size`, as scaled by `whole_square`, int32 [T,2]."""
    if fit != "pad":
        return np.full_like(source_px, size)
    dar = source_px[:, 0] / source_px[:, 1] * np.array([float(one) for one in pixel])
    wide = np.where(dar >= 1, size, np.maximum(1, np.floor(size * dar + 0.5)))
    high = np.where(dar >= 1, np.maximum(1, np.floor(size / dar + 0.5)), size)
    return np.stack([wide, high], axis=1).astype(np.int32)


def window_place(window: Window, source_size: NDArray[np.int32], size: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Affine float64 [T,2,3] and content box int32 [T,4] of frames of `source_size` [T,2] cropped to a window."""
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
    """Affine from source pixels to pixels of the resized image, whose top left pixel is at `corner`: float64 [T,2,3]."""
    scale = content_size / source_size
    affine = np.zeros((len(scale), 2, 3))
    affine[:, [0, 1], [0, 1]] = scale
    affine[:, :, 2] = 0.5 * scale - 0.5 + corner
    return affine
