"""Encodes frames as JPEG files and decodes them."""

from collections.abc import Sequence

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from motionshards.schemas.config import MOST_SIZE_PX

MAX_DECODED_BYTES = 1 << 30  # for samples decoded completely; views of a stream decode only the frames they select
MAX_SCANS = 100  # a progressive JPEG usually has about ten; each costs a pass over all blocks, even if it is a few bytes long

_MARKER, _START_OF_SCAN = np.uint8(0xFF), np.uint8(0xDA)


def encode_jpegs(rgb: NDArray[np.uint8], quality: int) -> tuple[bytes, ...]:
    """Encode each frame of uint8 [T,H,W,3] as a baseline JPEG with 4:2:0 chroma, as in practically every source video."""
    return tuple(simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality, "RGB", "420") for frame in rgb)


def decode_frames(jpegs: Sequence[bytes]) -> NDArray[np.uint8]:
    """Decode frames of one size to uint8 [N,H,W,3], RGB.

    Raises:
        ValueError: no frames, a damaged one, one of another size, or more than MAX_DECODED_BYTES together
    """
    if not jpegs:
        raise ValueError("there are no frames")
    height, width = _size_px(jpegs[0])
    if len(jpegs) * height * width * 3 > MAX_DECODED_BYTES:
        raise ValueError(f"{len(jpegs)} frames of {width}x{height} px are more than {MAX_DECODED_BYTES:,} bytes")
    frames = np.empty((len(jpegs), height, width, 3), np.uint8)
    for frame, jpeg in zip(frames, jpegs, strict=True):
        decode_into(jpeg, frame)
    return frames


def decode_into(jpeg: bytes, frame: NDArray[np.uint8]) -> None:
    """Decode a JPEG into `frame`, uint8 [H,W,3].

    Raises:
        ValueError: the JPEG is damaged, has another size, or more than MAX_SCANS scans
    """
    codes = np.frombuffer(jpeg, np.uint8)  # bytes.count takes a tenth of the time of decoding
    if np.count_nonzero((codes[:-1] == _MARKER) & (codes[1:] == _START_OF_SCAN)) > MAX_SCANS:
        raise ValueError(f"a frame has more than {MAX_SCANS} scans")
    decoded = simplejpeg.decode_jpeg(jpeg, "RGB", buffer=frame)  # checks the size against the buffer before decoding
    if decoded.shape != frame.shape:
        raise ValueError(f"a frame is {decoded.shape[1]}x{decoded.shape[0]} px, not {frame.shape[1]}x{frame.shape[0]}")


def square_side_px(jpeg: bytes) -> int:
    """The side of a stored frame, px. Raises ValueError: not a JPEG, not square, or larger than a build allows."""
    height, width = _size_px(jpeg)
    if height != width:
        raise ValueError(f"a frame is {width}x{height} px, not square")
    return height


def _size_px(jpeg: bytes) -> tuple[int, int]:
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    if max(height, width) > MOST_SIZE_PX:
        raise ValueError(f"a frame is {width}x{height} px, more than {MOST_SIZE_PX} a side")
    return height, width
