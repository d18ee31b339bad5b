"""All frames of a part of a video, scaled to one size."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from motionshards.transforms.extract.decoder.filters import RGB, scaled
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import OutputImage
from motionshards.transforms.extract.stream import decode_images
from motionshards.transforms.extract.timeline import Timeline


def all_frames(
    media: Media, line: Timeline, start: int, stop: int, size_px: tuple[int, int], timeout_s: float = 60, *, seek: bool = True
) -> Iterator[NDArray[np.uint8]]:
    """Frames [start, stop) of a timeline, each uint8 [H,W,3] of `size_px` (width, height)."""
    for (frame,) in decode_images(media, line, start, stop, [OutputImage((scaled(*size_px), RGB))], timeout_s, seek=seek):
        assert frame is not None
        yield frame
