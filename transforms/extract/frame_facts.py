"""Facts that a decoder reports about its frames: times, sizes, pixel aspect and color."""

from array import array
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.frames import Display

SQUARE = Fraction(1)
# Names as in FFmpeg, numbers as in ITU-T H.273.
_TRANSFERS = {
    **{1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316"},
    **{11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084"},
    **{17: "smpte428", 18: "arib-std-b67"},
}
_PRIMARIES = {
    **{1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428"},
    **{11: "smpte431", 12: "smpte432", 22: "ebu3213"},
}
_UNKNOWN = 2
_HDR_TRANSFERS = (16, 18)


def is_hdr(transfer: int) -> bool:
    """Whether frames with this transfer function have to be tone-mapped for SDR."""
    return transfer in _HDR_TRANSFERS


def is_untagged(primaries: int, matrix: int) -> bool:
    """Whether the primaries or the matrix of the colors are unknown."""
    return _UNKNOWN in (primaries, matrix)


class FrameFacts:
    """Facts about the frames of a decoder, upright.

    header: the stream as described by the decoder; must be set before times are read
    """

    def __init__(self) -> None:
        self.header: Mapping[str, Any] = {}
        self._pts, self._shape = array("q"), array("i")
        # Distinct (transfer, primaries) of the frames.
        self._colors: dict[tuple[int, int], None] = {}

    def add(self, frames: Sequence[Sequence[Any]]) -> None:
        """Add the facts of frames, as sent by a decoder."""
        for pts, size, pixel, (transfer, primaries) in frames:
            self._pts.append(pts)
            self._shape.extend((*size, *pixel))
            self._colors[transfer, primaries] = None

    def __len__(self) -> int:
        return len(self._pts)

    @property
    def is_hdr(self) -> bool:
        """Whether frames have to be tone-mapped for SDR."""
        return any(is_hdr(transfer) for transfer, _ in self._colors)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """float64 [n], presentation times from the start of the container."""
        return stream_seconds(np.array(self._pts, np.int64), self.header)

    @property
    def sizes_px(self) -> NDArray[np.int32]:
        """int32 [n,2], width and height."""
        return np.array(self._shape, np.int32).reshape(-1, 4)[:, :2]

    @property
    def each_pixel_aspect(self) -> list[Fraction]:
        """Width over height of a pixel of each frame; 1 if the file does not specify it."""
        return [aspect(*pair) for pair in zip(self._shape[2::4], self._shape[3::4], strict=True)]

    @property
    def pixel_aspects(self) -> list[Fraction]:
        """The distinct values of `each_pixel_aspect`."""
        return list(dict.fromkeys(self.each_pixel_aspect))

    @property
    def display(self) -> Display:
        """Display properties of the first frame; there must be one."""
        transfer, primaries = next(iter(self._colors))
        return Display(float(self.pixel_aspects[0]), _TRANSFERS.get(transfer), _PRIMARIES.get(primaries))


def aspect(numerator: int, denominator: int) -> Fraction:
    """A pixel's width over its height; 1 if the file specifies none or an implausible one."""
    value = Fraction(numerator, denominator) if numerator > 0 and denominator > 0 else SQUARE
    return value if Fraction(1, 16) <= value <= 16 else SQUARE


def stream_seconds(pts: NDArray[np.int64], header: Mapping[str, Any]) -> NDArray[np.float64]:
    """Convert ticks of a stream to seconds from the start of its container."""
    return in_seconds(pts - header["start"], Fraction(*header["base"]))


def in_seconds(pts: NDArray[np.int64], base: Fraction) -> NDArray[np.float64]:
    """Convert ticks of a time base to seconds, with a single rounding while ticks times numerator are below 2^53."""
    return pts.astype(np.float64) * base.numerator / base.denominator
