"""Is one still of a sample a picture of its size?"""

from collections.abc import Iterator, Mapping
from typing import Any

import simplejpeg

from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import frame_suffix

# The colour spaces of JPEG that have three channels; the others are Gray, CMYK and YCCK.
_THREE_CHANNELS = ("YCbCr", "RGB")


class _Unreadable(str):
    """Why a member cannot be loaded."""


def stills_of(
    members: Mapping[str, bytes], row: Mapping[str, Any], config: BuildConfig, size_px: int | None = None
) -> dict[int, bytes]:
    """The stills of the sample of a row by their numbers, those of a smaller size where one is given."""
    return {number: members[frame_suffix(number, size_px)] for number in range(row["n_frames"] if config.stills else 0)}


def check_still(jpeg: bytes, size_px: int) -> Iterator[str]:
    """Faults of a JPEG file, which must hold a picture of this height and width in three channels."""
    header = _loaded(jpeg, simplejpeg.decode_jpeg_header)
    if isinstance(header, _Unreadable):
        yield header
        return
    height, width, colours, _ = header
    if (height, width) != (size_px, size_px) or colours not in _THREE_CHANNELS:
        yield f"is {width}x{height} px in {colours}, must be {size_px}x{size_px} px with 3 channels"
        return
    frame = _loaded(jpeg, simplejpeg.decode_jpeg)
    if isinstance(frame, _Unreadable):
        yield frame


def _loaded(content: bytes, load: Any) -> Any:
    """The member as `load` understands it. What a parser can raise on bytes that anyone may have written has no end."""
    try:
        return load(content)
    except Exception as error:
        return _Unreadable(f"cannot be read: {str(error) or type(error).__name__}")
