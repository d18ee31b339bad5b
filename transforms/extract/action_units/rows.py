"""OpenFace's csv: a row a frame and face, columns by name, separated by `,` or `, `."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.action_units import INTENSITIES, PRESENCES

_COLUMNS = ("confidence", "success", *(f"{name}_r" for name in INTENSITIES), *(f"{name}_c" for name in PRESENCES))
_POINTS = (*(f"x_{number}" for number in range(68)), *(f"y_{number}" for number in range(68)))
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Row:
    """What OpenFace says of one face in one frame; numbers are as they stand there, and mean nothing without success.

    frame: number of the frame, from 1; 0 where the file has no such column
    timestamp_s: seconds from the start of the video; 0 where the file has no such column
    success, confidence: whether the face was found, and how sure that is, 0 to 1
    intensity: 17 numbers in the order of INTENSITIES
    presence: 18 numbers in the order of PRESENCES
    points_px: float64 [68,2] in pixels of the picture; None where the file has no such columns
    """

    frame: int
    timestamp_s: float
    success: bool
    confidence: float
    intensity: tuple[float, ...]
    presence: tuple[float, ...]
    points_px: NDArray[np.float64] | None


def read_rows(lines: Iterable[str], needed: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a csv, one at a time; `needed` are columns that must be there besides those of the action units.

    Raises:
        ValueError: there is no header, columns are missing, or a line is damaged; the message says which
    """
    numbered = enumerate((line for line in lines if line.strip()), 1)
    names = [name.strip() for name in next(numbered, (0, ""))[1].removeprefix("\ufeff").split(",")]
    places = {name: place for place, name in reversed(list(enumerate(names)))}
    if missing := [name for name in (*needed, *_COLUMNS) if name not in places]:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ValueError(f"columns are missing: {', '.join(missing[:_NAMED])}{more}" if names != [""] else "it is empty")
    for number, line in numbered:
        cells = line.split(",")
        if len(cells) != len(names):
            raise ValueError(f"line {number} has {len(cells)} columns, the header has {len(names)}")
        try:
            yield _row(cells, places)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error


def _row(cells: list[str], places: dict[str, int]) -> Row:
    def number(name: str) -> float:
        return _number(cells[places[name]])

    frame = number("frame") if "frame" in places else 0.0
    timestamp_s = number("timestamp") if "timestamp" in places else 0.0
    if not math.isfinite(frame) or not math.isfinite(timestamp_s):
        raise ValueError("frame or timestamp is no number")
    return Row(
        frame=int(frame),
        timestamp_s=timestamp_s,
        success=number("success") == 1,
        confidence=number("confidence"),
        intensity=tuple(number(f"{name}_r") for name in INTENSITIES),
        presence=tuple(number(f"{name}_c") for name in PRESENCES),
        points_px=np.array([number(name) for name in _POINTS]).reshape(2, 68).T if set(_POINTS) <= places.keys() else None,
    )


def _number(text: str) -> float:
    """A number, or NaN as C libraries spell it: `nan`, `-nan(ind)`, `1.#IND`."""
    try:
        return float(text)
    except ValueError:
        if "nan" in text.lower() or "#" in text:
            return math.nan
        raise
