"""Rotates frames upright according to their display matrix."""

import math
import struct
from typing import Any

from motionshards.transforms.extract.decoder.filters import Filter

_WITHIN_DEGREES = 1.0


def upright(frame: Any) -> list[Filter]:
    """The filters that rotate a frame upright."""
    matrix, degrees = _matrix(frame)
    if degrees is None:
        return []
    if _near(degrees, 90):
        return [("transpose", "cclock_flip" if matrix[3] > 0 else "clock")]
    if _near(degrees, 180):
        return [(name, "") for name, value in (("hflip", matrix[0]), ("vflip", matrix[4])) if value < 0]
    if _near(degrees, 270):
        return [("transpose", "clock_flip" if matrix[3] < 0 else "cclock")]
    if not _near(degrees, 0):
        return [("rotate", f"{degrees}*PI/180")]
    return [("vflip", "")] if matrix[4] < 0 else []


def turned(frame: Any) -> bool:
    """Whether the rotation swaps width and height."""
    return any(name == "transpose" for name, _ in upright(frame))


def _matrix(frame: Any) -> tuple[tuple[int, ...], int | None]:
    """The display matrix and its rotation in whole degrees, clockwise from 0 to 359; None if it is missing or invalid."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return (), None
    matrix = struct.unpack("=9i", bytes(data)[:36])
    (a, b), (c, d) = matrix[:2], matrix[3:5]
    if not math.hypot(a, c) or not math.hypot(b, d):
        return (), None
    return matrix, round(math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c)))) % 360


def _near(degrees: int, angle: int) -> bool:
    return abs(degrees - angle) < _WITHIN_DEGREES
