"""Encodes images as PNG files with FFmpeg, faster than Pillow at the same size."""

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

# Of FFmpeg's predictors, paeth is both the fastest and the smallest: its residuals compress best.
_OPTIONS = {"compression_level": "1", "pred": "paeth"}


def png_bytes(rgb: NDArray[np.uint8]) -> bytes:
    """Encode an image, uint8 [H,W,3] in RGB, as a PNG file."""
    codec = av.VideoCodecContext.create("png", "w")
    codec.height, codec.width = rgb.shape[:2]
    codec.pix_fmt, codec.time_base, codec.options = "rgb24", Fraction(1, 25), _OPTIONS
    codec.thread_count = 1  # frame threads would delay the output
    (packet,) = codec.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    return bytes(packet)
