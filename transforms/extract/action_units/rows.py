"""Reads the csv of OpenFace's FeatureExtraction: one row per frame and face, columns by name, separated by `,` or `, `.

OpenFace writes raw predictions while it runs and rewrites the file at the end, with intensities smoothed and clamped to 0 to 5.
Values outside that range therefore mean that the run was killed.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import INTENSITIES, MOST, PRESENCES

_COLUMNS = ("confidence", "success", *(f"{name}_r" for name in INTENSITIES), *(f"{name}_c" for name in PRESENCES))
_POINTS = (*(f"x_{number}" for number in range(68)), *(f"y_{number}" for number in range(68)))
_NAMED = 4
_MAX_FACES = 64
# A row with all column groups of OpenFace has about 8 kB.
_LONGEST_LINE_BYTES = 1 << 16
# Half a unit of the last digit that OpenFace prints.
_ROUNDING = 0.005


@dataclass(frozen=True, slots=True)
class Row:
    """One face in one frame, as measured by OpenFace; the values are meaningless unless `choose.is_usable`.

    frame: number of the frame, from 1; 0 if the file has no such column
    face: its face_id; 0 if the file has no such column
    success, confidence: whether the landmarks were tracked, and the confidence of the fit, 0 to 1 or NaN
    intensity: 17 numbers from 0 to 5 or NaN, in the order of INTENSITIES
    presence: 18 numbers, 0, 1 or NaN, in the order of PRESENCES
    points_px: float64 [68,2] in pixels of the image; None if the file has no such columns
    """

    frame: int
    face: int
    success: bool
    confidence: float
    intensity: tuple[float, ...]
    presence: tuple[float, ...]
    points_px: NDArray[np.float64] | None


class CsvLines:
    """The lines of a file, read lazily in a single pass; `sha256` is the hash of the bytes read so far.

    Raises (while iterating):
        OSError: the file cannot be read
        ValueError: the last line is truncated, or a line is too long for a csv of OpenFace
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[str]:
        with self._path.open("rb") as stream:
            while line := stream.readline(_LONGEST_LINE_BYTES):
                self._digest.update(line)
                if not line.endswith(b"\n"):
                    too_long = len(line) == _LONGEST_LINE_BYTES
                    raise ValueError(f"a line exceeds {len(line)} bytes" if too_long else "the last line is truncated")
                yield line.decode("utf-8", "replace")

    @property
    def sha256(self) -> str:
        """Hexadecimal digest."""
        return self._digest.hexdigest()


def read_rows(lines: Iterable[str], needed: Sequence[str] = ()) -> Iterator[Row]:
    """Parse the rows of a csv, one at a time.

    needed: columns that must be present in addition to those of the action units

    Raises:
        ValueError: the header or all rows are missing, columns are missing, a line is damaged, or a value is out of range
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    names = [name.strip() for name in next(numbered, (0, ""))[1].removeprefix("\ufeff").split(",")]
    places = {name: place for place, name in reversed(list(enumerate(names)))}
    if missing := [name for name in (*needed, *_COLUMNS) if name not in places]:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ValueError(f"columns are missing: {', '.join(missing[:_NAMED])}{more}" if names != [""] else "it is empty")
    number = 0
    for number, line in numbered:
        cells = line.split(",")
        if len(cells) != len(names):
            raise ValueError(f"line {number} has {len(cells)} columns, the header has {len(names)}")
        try:
            yield _row(cells, places)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    if not number:
        raise ValueError("it has a header but no rows")


def in_order(rows: Iterable[Row]) -> Iterator[Row]:
    """Pass rows through. Raises ValueError unless frames are numbered 1, 2, 3 …, each with one row per face."""
    last, faces = 0, set[int]()
    for row in rows:
        if row.frame == last + 1:
            last, faces = row.frame, set()
        elif row.frame != last or row.face in faces or not faces:
            follows = f"follows frame {last}" if last else "comes first"
            raise ValueError(f"frame {row.frame} {follows}: frames must be numbered from 1, each once per face, without gaps")
        if len(faces) == _MAX_FACES:
            raise ValueError(f"frame {last} has more than {_MAX_FACES} faces")
        faces.add(row.face)
        yield row


def _row(cells: list[str], places: dict[str, int]) -> Row:
    def number(name: str) -> float:
        return _number(cells[places[name]])

    def whole(name: str) -> int:
        value = number(name) if name in places else 0.0
        return int(_require(value.is_integer() and value >= 0, value, name, "a whole number"))

    confidence, success = number("confidence"), number("success")
    return Row(
        frame=whole("frame"),
        face=whole("face_id"),
        success=_require(success in (0, 1), success, "success", "0 or 1") == 1,
        confidence=_require(not (confidence < 0 or confidence > 1), confidence, "confidence", "0 to 1"),
        intensity=tuple(_intensity(number(name), name) for name in (f"{unit}_r" for unit in INTENSITIES)),
        presence=tuple(_presence(number(name), name) for name in (f"{unit}_c" for unit in PRESENCES)),
        points_px=np.array([number(name) for name in _POINTS]).reshape(2, 68).T if set(_POINTS) <= places.keys() else None,
    )


def _intensity(value: float, name: str) -> float:
    inside = not (value < -_ROUNDING or value > MOST + _ROUNDING)
    _require(inside, value, name, f"0 to {MOST:g}, as in the csv of a completed run")
    return min(max(value, 0.0), MOST) if value == value else value


def _presence(value: float, name: str) -> float:
    return _require(value != value or value in (0, 1), value, name, "0 or 1")


def _require(ok: bool, value: float, name: str, expected: str) -> float:
    if not ok:
        raise ValueError(f"{name} is {value:g}, must be {expected}")
    return value


def _number(text: str) -> float:
    """A number, or NaN as C libraries spell it: `nan`, `-nan(ind)`, `1.#IND`."""
    try:
        return float(text)
    except ValueError:
        if "nan" in text.lower() or "#" in text:
            return math.nan
        raise
