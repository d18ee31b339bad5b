"""Contact sheets and the frames in them, read back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from motionshards.dataset import preview
from motionshards.dataset.drawing.contact_sheet import SheetLayout
from motionshards.dataset.index import Dataset, Sample

LOOK = SheetLayout(frame_px=192, columns=5, drawn=True, aus=False, source_px=396)


def first(out: Path) -> tuple[dict[str, Any], Sample]:
    """The row and the sample of the first clip."""
    data = Dataset.open(out)
    row = data.index().slice(0, 1).to_pylist()[0]
    return row, data.read(row)


def run(*arguments: object) -> int:
    """The exit status of the command."""
    return preview.main([str(argument) for argument in arguments])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def frame_at(sheet: np.ndarray, number: int, top: int = 0) -> np.ndarray:
    """The pixels of a frame of a block, [192,192,3]."""
    down, across = divmod(number, LOOK.columns)
    y, x = top + LOOK.head + down * LOOK.cell, LOOK.left + across * (LOOK.frame_px + LOOK.gap)
    return sheet[y : y + LOOK.frame_px, x : x + LOOK.frame_px]


def has_color(image: np.ndarray, color: Sequence[int]) -> bool:
    return bool((np.abs(image - np.array(color)).max(-1) < 40).any())
