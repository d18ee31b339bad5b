"""Frames as JPEG files, and back."""

from collections.abc import Sequence

import numpy as np
import simplejpeg
from numpy.typing import NDArray


def encode_jpegs(rgb: NDArray[np.uint8], quality: int) -> tuple[bytes, ...]:
    """Each frame of uint8 [T,H,W,3] as a baseline JPEG, chroma halved (4:2:0) as it is in practically every source video."""
    return tuple(simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality, "RGB", "420") for frame in rgb)


def decode_frames(jpegs: Sequence[bytes]) -> NDArray[np.uint8]:
    """Frames of one size as uint8 [N,H,W,3], RGB.

    Raises:
        ValueError: no frames, a damaged one, or one of another size
    """
    if not jpegs:
        raise ValueError("there are no frames")
    height, width, *_ = simplejpeg.decode_jpeg_header(jpegs[0])
    frames = np.empty((len(jpegs), height, width, 3), np.uint8)
    for frame, jpeg in zip(frames, jpegs, strict=True):
        if simplejpeg.decode_jpeg_header(jpeg)[:2] != (height, width):
            raise ValueError("frames differ in size")
        simplejpeg.decode_jpeg(jpeg, "RGB", buffer=frame)
    return frames
