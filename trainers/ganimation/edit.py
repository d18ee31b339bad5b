"""Edits the action units of a face in an image, and draws strips of faces for several intensities of one action unit.

Intensities are in [0, 1] here, as in the networks: OpenFace's 0 to 5 divided by 5.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from motionshards.schemas.action_units import INTENSITIES, MIN_CONFIDENCE, MOST, PRESENCES
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.faces import paste_face
from motionshards.trainers.ganimation.networks import Generator, Painting
from motionshards.trainers.video import Rgb, cut_window
from motionshards.transforms.extract.crop import Window

Intensities = NDArray[np.float32]
"""[17] in the order of INTENSITIES, 0 to 1."""

_MIN_LABEL_PX = 12
_GAP_PX = 2


@dataclass(frozen=True, slots=True)
class Strip:
    """An action unit and the intensities to show."""

    au: str
    values: tuple[float, ...]


class Editor:
    """Edits the face in a window of an image. Windows must frame faces as in the training data."""

    def __init__(self, generator: Generator, size_px: int, device: torch.device | str = "cpu") -> None:
        self._generator, self._size, self._device = generator.to(device), size_px, device

    def face(self, image: Rgb, window: Window) -> Rgb:
        """Return the input of the generator, uint8 [size,size,3]."""
        return cut_window(image, window, self._size)

    @torch.no_grad()
    def paint(self, face: Rgb, requested: Sequence[Intensities]) -> list[Painting]:
        """Return a painting [1,...] on the CPU for each of the requested intensities."""
        image = _signed(face).to(self._device)
        paintings = [self._generator(image, torch.from_numpy(one)[None].to(self._device)) for one in requested]
        return [Painting(one.color.cpu(), one.attention.cpu()) for one in paintings]

    def edit(self, image: Rgb, window: Window, requested: Intensities) -> Rgb:
        """Return the image uint8 [H,W,3] with an edited face; pixels outside the window do not change."""
        (painting,) = self.paint(self.face(image, window), [requested])
        return apply_painting(image, painting, window)

    def strip(self, image: Rgb, window: Window, strip: Strip, requested: Intensities) -> Rgb:
        """Draw the face, and for each value the edited face above its attention mask: uint8 [H,W,3].

        Masks are white where the face was kept and black where it was replaced.

        requested: intensities of the other action units
        """
        face = self.face(image, window)
        columns = [with_value(requested, strip.au, value) for value in strip.values]
        shown = [(_unsigned(one.over(_signed(face))), _gray(one.attention)) for one in self.paint(face, columns)]
        labels = [f"{strip.au} = {value:.2f}" for value in strip.values]
        return _table(
            [("image", face, np.full_like(face, 255)), *((label, *pair) for label, pair in zip(labels, shown, strict=True))]
        )


def apply_painting(image: Rgb, painting: Painting, window: Window) -> Rgb:
    """Apply a painting [1,...] to the window of an image uint8 [H,W,3] at the resolution of the image.

    Color and attention are scaled instead of the edited face, so regions that are kept stay sharp.
    """
    x0, y0, x1, y1 = window
    rows, columns = slice(max(0, y0), min(len(image), y1)), slice(max(0, x0), min(image.shape[1], x1))
    own = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    own[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] = image[rows, columns]
    scaled = Painting(_scaled(painting.color, own.shape[:2]).clamp(-1, 1), _scaled(painting.attention, own.shape[:2]).clamp(0, 1))
    return paste_face(image, _unsigned(scaled.over(_signed(own))), window)


def au_name(text: str) -> str:
    """Normalize the name of an action unit, such as `AU4` or `au04`, to that in INTENSITIES. Raises ConfigError: unknown."""
    digits = text.upper().removeprefix("AU")
    name = f"AU{digits.zfill(2)}"
    if name not in INTENSITIES:
        raise ConfigError(f"unknown action unit {text}; choose from {', '.join(INTENSITIES)}")
    return name


def intensity(text: str) -> float:
    """Parse a number from 0 to 1. Raises ConfigError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ConfigError(f"{text!r} must be an intensity from 0 to 1, which is OpenFace's 0 to 5 divided by 5")
    return value


def with_value(intensities: Intensities, au: str, value: float) -> Intensities:
    """Return a copy with another intensity of one action unit."""
    changed = intensities.copy()
    changed[INTENSITIES.index(au)] = value
    return changed


def read_current(path: Path) -> Intensities:
    """Read the intensities of an image from OpenFace's csv file; of several faces, those of the highest confidence.

    The files of FaceLandmarkImg have rows for found faces only, and no column `success`; those of FeatureExtraction have one.

    Raises:
        ConfigError: the file cannot be read, lacks columns, or has no row for which OpenFace computed action units
    """
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
            rows = list(csv.DictReader(stream, skipinitialspace=True))
    except (OSError, csv.Error) as error:
        raise ConfigError(f"--current {path}: {getattr(error, 'strerror', None) or error}") from error
    columns = [f"{name}_r" for name in INTENSITIES]
    if missing := [name for name in columns if not rows or name not in rows[0]]:
        raise ConfigError(f"--current {path} is not a csv file of OpenFace: it has no column {missing[0]}")
    presences = [f"{name}_c" for name in PRESENCES]
    faces = [
        (_cell(row, "confidence", 1), [_cell(row, name) for name in columns])
        for row in rows
        if _cell(row, "success", 1) == 1 and any(_cell(row, name, 0) for name in (*columns, *presences))
    ]
    found = [face for face in faces if face[0] >= MIN_CONFIDENCE and all(0 <= number <= MOST for number in face[1])]
    if not found:
        raise ConfigError(
            f"--current {path}: no row has a face with confidence {MIN_CONFIDENCE} or more and intensities from 0 to {MOST:g}"
        )
    return np.array(max(found)[1], np.float32) / np.float32(MOST)


def _cell(row: Mapping[str, str | None], name: str, absent: float = math.nan) -> float:
    """Return the number in a column; NaN if it is not a number."""
    try:
        return float(row[name] or "nan") if name in row else absent
    except ValueError:
        return math.nan


def _signed(image: Rgb) -> Tensor:
    """Convert uint8 [H,W,3] to float32 [1,3,H,W] in [-1, 1]."""
    return torch.tensor(image).permute(2, 0, 1)[None].float() / 127.5 - 1


def _unsigned(signed: Tensor) -> Rgb:
    """Convert back from `_signed`, with clamping."""
    levels = ((signed[0] + 1) * 127.5).round().clamp(0, 255)
    return levels.permute(1, 2, 0).to(torch.uint8).numpy()


def _gray(attention: Tensor) -> Rgb:
    return _unsigned(2 * attention.expand(-1, 3, -1, -1) - 1)


def _scaled(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(maps, size=list(size), mode="bicubic", antialias=True, align_corners=False)


def _table(columns: Sequence[tuple[str, Rgb, Rgb]]) -> Rgb:
    """Draw columns of two images of one size below their label, on white."""
    side = len(columns[0][1])
    label = max(_MIN_LABEL_PX, side // 9)
    font = ImageFont.load_default(label * 0.7)
    sheet = Image.new("RGB", (len(columns) * (side + _GAP_PX) - _GAP_PX, label + 2 * side + _GAP_PX), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (text, above, below) in enumerate(columns):
        left = number * (side + _GAP_PX)
        pen.text((left + side / 2, label / 2), text, "black", font, anchor="mm")
        sheet.paste(Image.fromarray(above), (left, label))
        sheet.paste(Image.fromarray(below), (left, label + side + _GAP_PX))
    return np.array(sheet)
