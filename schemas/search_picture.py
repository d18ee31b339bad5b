"""The pictures in which faces are searched."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
