"""Encodes frames as JPEG files and decodes them."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from motionshards.schemas.config import MAX_SIZE_PX

MAX_DECODED_BYTES = 1 << 30  # for samples decoded completely; views of a stream decode only the frames they select
MAX_SCANS = 100  # a progressive JPEG usually has about ten; each costs a pass over all blocks, even if it is a few bytes long

# Markers by ITU-T T.81, table B.1. The others that may precede the first scan are APPn, DQT, DHT, DRI and COM.
_SEQUENTIAL, _START_OF_SCAN = (0xC0, 0xC1), 0xDA
_BEFORE_SCANS = frozenset((*_SEQUENTIAL, 0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE))
_SCAN_MARKER = bytes((0xFF, _START_OF_SCAN))


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
    # Frames of a dataset share their header, and counting takes 7 % of the time of decoding.
    if not _has_one_scan(jpeg[: jpeg.find(_SCAN_MARKER) + 5]) and jpeg.count(_SCAN_MARKER) > MAX_SCANS:
        raise ValueError(f"a frame has more than {MAX_SCANS} scans")
    decoded = simplejpeg.decode_jpeg(jpeg, "RGB", buffer=frame)  # checks the size against the buffer before decoding
    if decoded.shape != frame.shape:
        raise ValueError(f"a frame is {decoded.shape[1]}x{decoded.shape[0]} px, not {frame.shape[1]}x{frame.shape[0]}")


@lru_cache(maxsize=256)
def _has_one_scan(header: bytes) -> bool:
    """Whether JPEGs with this header are decoded in one pass: sequential, and their first scan has all components.

    header: the bytes up to the number of components in the first scan. False if a decoder might understand it differently
    """
    at, components = 2, 0
    while at + 5 <= len(header) and header[at] == 0xFF:
        marker = header[at + 1]
        if marker == _START_OF_SCAN:
            return header[at + 4] == components
        if marker not in _BEFORE_SCANS:
            return False
        if marker in _SEQUENTIAL:
            components = header[at + 9]
        at += 2 + int.from_bytes(header[at + 2 : at + 4])
    return False


def square_side_px(jpeg: bytes) -> int:
    """The side of a stored frame, px. Raises ValueError: not a JPEG, not square, or larger than a build allows."""
    height, width = _size_px(jpeg)
    if height != width:
        raise ValueError(f"a frame is {width}x{height} px, not square")
    return height


def _size_px(jpeg: bytes) -> tuple[int, int]:
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    if max(height, width) > MAX_SIZE_PX:
        raise ValueError(f"a frame is {width}x{height} px, more than {MAX_SIZE_PX} a side")
    return height, width
