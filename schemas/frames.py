"""Decoded frames, their placement in the source, and the images on which faces are detected."""

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.moving import Encoded

F64 = NDArray[np.float64]


def require(ok: bool, message: str) -> None:
    """Raise ValueError(message) unless `ok`."""
    if not ok:
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Display:
    """Display metadata of a video, as of its first frame.

    pixel_aspect: width over height of a source pixel
    transfer, primaries: color characteristics by ffmpeg's names (`arib-std-b67` is HLG, `smpte2084` PQ); None if unspecified
    """

    pixel_aspect: float = 1.0
    transfer: str | None = None
    primaries: str | None = None


@dataclass(frozen=True, slots=True)
class SearchImage:
    """The image on which faces of a stored frame are detected: the same region of the source, often at a higher resolution.

    pixels: uint8 [H,W] grayscale, or [H,W,3] RGB
    covers_px: the region of the stored frame that it shows, edges x0 y0 x1 y1 in stored pixels
    """

    pixels: NDArray[np.uint8]
    covers_px: tuple[float, float, float, float]

    def stored(self, boxes_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes float32 [M,4] from `pixels` to the stored frame. In both, pixel centers are at integer coordinates."""
        x0, y0, x1, y1 = self.covers_px
        height, width = self.pixels.shape[:2]
        scale = np.array([(x1 - x0) / width, (y1 - y0) / height] * 2)
        boxes: NDArray[np.float32] = ((boxes_px + 0.5) * scale + [x0, y0, x0, y0] - 0.5).astype(np.float32)
        return boxes


@dataclass(frozen=True, slots=True)
class SmallerFrames:
    """A subset of the decoded frames at an additional size.

    rgb: uint8 [S,size_px,size_px,3]
    video: the video of `Frames` at this size; None if not requested
    """

    size_px: int
    rgb: NDArray[np.uint8] = field(repr=False)
    video: Encoded | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Frames:
    """Decoded frames, scaled while decoding.

    rgb: uint8 [T,H,W,3]
    pts_s: float64 [T], seconds from the first frame of its file, non-decreasing within a file
    source_to_frame: float64 [T,2,3], affine from source pixels to pixels of `rgb`
    source_size_px: int32 [T,2], width and height of the upright source frame
    content_px: int32 [T,4], x0 y0 x1 y1 (end exclusive) of the image inside `rgb`; everything else is padding
    display: display metadata of the source
    search: detection image of each frame; empty if not requested
    video: video of these and other frames; None if not requested
    smaller: a subset of the frames, and the video, at additional sizes
    """

    rgb: NDArray[np.uint8]
    pts_s: F64
    source_to_frame: F64
    source_size_px: NDArray[np.int32]
    content_px: NDArray[np.int32]
    display: Display = Display()
    search: tuple[SearchImage, ...] = ()
    video: Encoded | None = field(default=None, repr=False)
    smaller: tuple[SmallerFrames, ...] = ()

    def __post_init__(self) -> None:
        t = len(self.rgb)
        require(self.rgb.ndim == 4 and self.rgb.shape[3] == 3 and self.rgb.dtype == np.uint8, "rgb is not uint8 [T,H,W,3]")
        require(self.pts_s.shape == (t,), f"pts_s has shape {self.pts_s.shape}, expected ({t},)")
        require(self.source_to_frame.shape == (t, 2, 3), "source_to_frame is not [T,2,3]")
        require(self.source_size_px.shape == (t, 2), "source_size_px is not [T,2]")
        require(self.content_px.shape == (t, 4), "content_px is not [T,4]")

    def __len__(self) -> int:
        return len(self.rgb)


@dataclass(frozen=True, slots=True)
class Placement:
    """Position of each stored frame in its source, in space and time.

    span: int32 [T], index of the span that the frame belongs to
    index: int32 [T], frame number within its file, from 0
    pts_s: float64 [T], seconds from the first frame of its file
    source_size_px: int32 [T,2], width and height of the upright source frame
    content_px: int32 [T,4], x0 y0 x1 y1 (end exclusive) of the image inside the crop; everything else is padding
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
                getattr(self, name).shape == (t, *shape), f"{name} has shape {getattr(self, name).shape}, expected {(t, *shape)}"
            )

    def __len__(self) -> int:
        return len(self.span)

    @property
    def is_alike(self) -> bool:
        """Whether all frames have the same source size, content area and crop."""
        return all((one == one[:1]).all() for one in (self.source_size_px, self.content_px, self.source_to_crop))

    def take(self, places: NDArray[np.int64]) -> "Placement":
        """The placement of the frames `places`, int64 [S]; indices may repeat."""
        return Placement(*(getattr(self, one.name)[places] for one in fields(self)))


@dataclass(frozen=True, slots=True)
class Crop:
    """The pixels of a clip at the stored size, uint8 [T,H,W,3], their placement in the source and its display metadata.

    search: as in `Frames`
    """

    rgb: NDArray[np.uint8] = field(repr=False)
    placement: Placement
    display: Display = Display()
    search: tuple[SearchImage, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        require(self.rgb.ndim == 4 and self.rgb.dtype == np.uint8, "rgb is not uint8 [T,H,W,3]")
        require(len(self.rgb) == len(self.placement), "rgb and placement differ in length")
        require(len(self.search) in (0, len(self.rgb)), "search must have an image for each frame, or none")

    def __len__(self) -> int:
        return len(self.rgb)

    def take(self, places: NDArray[np.int64]) -> "Crop":
        """The crop of the frames `places`, int64 [S]; indices may repeat."""
        search = tuple(self.search[place] for place in places.tolist()) if self.search else ()
        return Crop(self.rgb[places], self.placement.take(places), self.display, search)
