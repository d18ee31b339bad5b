"""Frames as JPEG files."""

import numpy as np
import simplejpeg
from numpy.typing import NDArray


def encode_jpegs(rgb: NDArray[np.uint8], quality: int) -> tuple[bytes, ...]:
    """Each frame of uint8 [T,H,W,3] as a baseline JPEG, chroma halved (4:2:0) as it is in practically every source video."""
    return tuple(simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality, "RGB", "420") for frame in rgb)
