"""Converts frames for encoding: yuv420p in BT.601 and limited range, scaled reproducibly."""

from fractions import Fraction
from typing import Any

from motionshards.transforms.extract.decoder.filters import SCALER, Filter
from motionshards.transforms.extract.decoder.graph import Chain

# Numbers of ITU-T H.273.
LIMITED_RANGE, BT601 = 1, 6
_UNKNOWN, _AS_BT601, _BT709 = 2, 5, 1

# Side data such as captions and stereo modes would be written into the video.
_PLAIN: Filter = ("sidedata", "mode=delete")
_YUV: Filter = ("format", "yuv420p")
_TO_601 = (
    "colorspace",
    "ispace=bt709:iprimaries=bt709:itrc=bt709:irange=tv:space=smpte170m:primaries=bt709:trc=bt709:range=tv:format=yuv420p",
)


class ToYuv:
    """Converts frames and scales them to `size` x `size` pixels."""

    def __init__(self, size: int) -> None:
        self._size, square = size, _limited(f"w={size}:h={size}:")
        self._from_rgb = Chain([_limited("out_color_matrix=smpte170m:"), _YUV, _PLAIN])
        # Keys are color matrices. FFmpeg assumes BT.601 for an unknown one when it converts to RGB, as for the stored images.
        # BT.709 is converted from 10 bits, which is 1 dB better than from 8.
        self._from_yuv = dict.fromkeys((_UNKNOWN, BT601, _AS_BT601), Chain([square, _YUV, _PLAIN]))
        self._from_yuv[_BT709] = Chain([square, ("format", "yuv420p10le"), _TO_601, _PLAIN])

    def converts(self, frame: Any) -> bool:
        """Whether the frame can be converted without going through RGB."""
        return frame.format.name in ("yuv420p", "yuvj420p") and int(frame.colorspace) in self._from_yuv

    def of(self, frame: Any, base: Fraction, aspect: Fraction) -> Any:
        """The whole frame as a square; for frames that `converts`, without going through RGB, which takes six times as long."""
        if self.converts(frame):
            return self._from_yuv[int(frame.colorspace)].of(frame, base, aspect)
        return self.of_rgb(frame.reformat(self._size, self._size, "rgb24"), base)

    def of_rgb(self, frame: Any, base: Fraction) -> Any:
        """Convert a frame in RGB, without scaling."""
        return self._from_rgb.of(frame, base, Fraction(1))


def _limited(more: str = "") -> Filter:
    return "scale", f"{more}out_range=tv:out_chroma_loc=left:flags={SCALER}"
