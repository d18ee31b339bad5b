"""Decoded frames, where they were in their source, and the pictures in which their faces are searched."""

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.moving import Encoded

F64 = NDArray[np.float64]


def require(ok: bool, message: str) -> None:
    """Raise ValueError with a message where a record does not fit together."""
    if not ok:
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Display:
    """How the pixels of a video are meant to be shown, as it describes its first frame.

    pixel_aspect: width over height of a source pixel
    transfer, primaries: of its colours, by ffmpeg's names (`arib-std-b67` is HLG, `smpte2084` PQ); None where it does not say
    """

    pixel_aspect: float = 1.0
    transfer: str | None = None
    primaries: str | None = None


@dataclass(frozen=True, slots=True)
class SearchPicture:
    """The picture in which the faces of a stored frame are searched: the same part of the source, often at a finer scale.

    pixels: uint8 [H,W] grey, or [H,W,3] RGB
    covers_px: the part of the stored frame that it shows, edges x0 y0 x1 y1 in stored pixels
    """

    pixels: NDArray[np.uint8]
    covers_px: tuple[float, float, float, float]

    def stored(self, boxes_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes [M,4] of `pixels` in pixels of the stored frame. In both, pixel centers are at whole numbers."""
        x0, y0, x1, y1 = self.covers_px
        height, width = self.pixels.shape[:2]
        scale = np.array([(x1 - x0) / width, (y1 - y0) / height] * 2)
        boxes: NDArray[np.float32] = ((boxes_px + 0.5) * scale + [x0, y0, x0, y0] - 0.5).astype(np.float32)
        return boxes


@dataclass(frozen=True, slots=True)
class SmallerFrames:
    """Some of the decoded frames at one more size.

    rgb: uint8 [S,size_px,size_px,3]
    video: that of `Frames` at this size; None if none was asked for
    """

    size_px: int
    rgb: NDArray[np.uint8] = field(repr=False)
    video: Encoded | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Frames:
    """Decoded frames, scaled while decoding.

    rgb: uint8 [T,H,W,3]
    pts_s: float64 [T], seconds from the first frame of its file, not decreasing within a file
    source_to_frame: float64 [T,2,3], affine from source pixels to pixels of `rgb`
    source_size_px: int32 [T,2], width and height of the upright source frame
    content_px: int32 [T,4], x0 y0 x1 y1 (end exclusive) of the picture inside `rgb`; the rest is padding
    display: how the source is meant to be shown
    search: the picture in which each frame's face is searched; empty if none was asked for
    video: the video of these and other frames; None if none was asked for
    smaller: some of the frames at further sizes, and the video too
    """

    rgb: NDArray[np.uint8]
    pts_s: F64
    source_to_frame: F64
    source_size_px: NDArray[np.int32]
    content_px: NDArray[np.int32]
    display: Display = Display()
    search: tuple[SearchPicture, ...] = ()
    video: Encoded | None = field(default=None, repr=False)
    smaller: tuple[SmallerFrames, ...] = ()

    def __post_init__(self) -> None:
        t = len(self.rgb)
        require(self.rgb.ndim == 4 and self.rgb.shape[3] == 3 and self.rgb.dtype == np.uint8, "rgb is not uint8 [T,H,W,3]")
        require(self.pts_s.shape == (t,), f"pts_s has the shape {self.pts_s.shape}, not ({t},)")
        require(self.source_to_frame.shape == (t, 2, 3), "source_to_frame is not [T,2,3]")
        require(self.source_size_px.shape == (t, 2), "source_size_px is not [T,2]")
        require(self.content_px.shape == (t, 4), "content_px is not [T,4]")

    def __len__(self) -> int:
        return len(self.rgb)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and when each stored frame was in its source.

    span: int32 [T], which span of the clip the frame is from
    index: int32 [T], number of the frame within its file, from 0
    pts_s: float64 [T], seconds from the first frame of its file
    source_size_px: int32 [T,2], width and height of the upright source frame
    content_px: int32 [T,4], x0 y0 x1 y1 (end exclusive) of the picture inside the crop; the rest is padding
    source_to_crop: float64 [T,2,3], affine from source pixels to crop pixels
    """

    span: NDArray[np.int32]
    index: NDArray[np.int32]
    pts_s: F64
    source_size_px: NDArray[np.int32]
    content_px: NDArray[np.int32]
    source_to_crop: F64

    def __post_init__(self) -> None:
        t = len(self.span)
        for name, shape in (
            ("span", ()),
            ("index", ()),
            ("pts_s", ()),
            ("source_size_px", (2,)),
            ("content_px", (4,)),
            ("source_to_crop", (2, 3)),
        ):
            require(
                getattr(self, name).shape == (t, *shape), f"{name} has the shape {getattr(self, name).shape}, not {(t, *shape)}"
            )

    def __len__(self) -> int:
        return len(self.span)

    @property
    def is_alike(self) -> bool:
        """Whether all frames have the same size in the source and were cut alike."""
        return all((one == one[:1]).all() for one in (self.source_size_px, self.content_px, self.source_to_crop))

    def take(self, places: NDArray[np.int64]) -> "Placement":
        """That of some of the frames, which may repeat."""
        return Placement(*(getattr(self, one.name)[places] for one in fields(self)))


@dataclass(frozen=True, slots=True)
class Crop:
    """The pixels of a clip at the stored size, uint8 [T,H,W,3], their placement in the source, and how that is to be shown.

    search: as of `Frames`
    """

    rgb: NDArray[np.uint8] = field(repr=False)
    placement: Placement
    display: Display = Display()
    search: tuple[SearchPicture, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        require(self.rgb.ndim == 4 and self.rgb.dtype == np.uint8, "rgb is not uint8 [T,H,W,3]")
        require(len(self.rgb) == len(self.placement), "pixels and placement differ in length")
        require(len(self.search) in (0, len(self.rgb)), "some frames have no search picture")

    def __len__(self) -> int:
        return len(self.rgb)

    def take(self, places: NDArray[np.int64]) -> "Crop":
        """Some of the frames, which may repeat."""
        search = tuple(self.search[place] for place in places.tolist()) if self.search else ()
        return Crop(self.rgb[places], self.placement.take(places), self.display, search)
