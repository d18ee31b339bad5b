"""Checks that a still of a sample is an image of the expected size."""

from collections.abc import Iterator, Mapping
from typing import Any

import simplejpeg

from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import frame_suffix

# JPEG color spaces with three channels; the others are Gray, CMYK and YCCK.
_THREE_CHANNELS = ("YCbCr", "RGB")


class _Unreadable(str):
    """Why a member cannot be loaded."""


def stills_of(
    members: Mapping[str, bytes], row: Mapping[str, Any], config: BuildConfig, size_px: int | None = None
) -> dict[int, bytes]:
    """The stills of the sample of a row by number, at the smaller size `size_px` if given."""
    return {number: members[frame_suffix(number, size_px)] for number in range(row["n_frames"] if config.stores_stills else 0)}


def check_still(jpeg: bytes, size_px: int) -> Iterator[str]:
    """Errors in a JPEG file, which must be an image of this height and width with three channels."""
    header = _loaded(jpeg, simplejpeg.decode_jpeg_header)
    if isinstance(header, _Unreadable):
        yield header
        return
    height, width, colors, _ = header
    if (height, width) != (size_px, size_px) or colors not in _THREE_CHANNELS:
        yield f"is {width}x{height} px in {colors}, must be {size_px}x{size_px} px with 3 channels"
        return
    frame = _loaded(jpeg, simplejpeg.decode_jpeg)
    if isinstance(frame, _Unreadable):
        yield frame


def _loaded(content: bytes, load: Any) -> Any:
    """The result of `load`, or why it failed. Parsers can raise anything for untrusted bytes."""
    try:
        return load(content)
    except Exception as error:
        return _Unreadable(f"cannot be read: {str(error) or type(error).__name__}")
