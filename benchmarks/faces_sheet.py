"""The contact sheet of `benchmarks.faces`: images with their detections, in the order in which sections add them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_ROW, _SIDE_PX, _TEXT_PX = 6, 224, 16


@dataclass(frozen=True)
class Sheet:
    """Tiles of 224 px with a line of text below each."""

    tiles: list[tuple[Image.Image, str]] = field(default_factory=list)

    def add(self, rgb: NDArray[np.uint8], caption: str, boxes_px: NDArray[np.floating] | None = None) -> None:
        """Add an image of any size, scaled to fit a tile.

        boxes_px: [M,4], drawn in green
        """
        scale = _SIDE_PX / max(rgb.shape)
        size = round(rgb.shape[1] * scale), round(rgb.shape[0] * scale)
        tile = Image.fromarray(rgb).resize(size, Image.Resampling.BOX)
        for box in [] if boxes_px is None else (boxes_px * scale).tolist():
            ImageDraw.Draw(tile).rectangle(box, outline=(0, 255, 0))
        self.tiles.append((tile, caption))

    def image(self) -> Image.Image:
        """All tiles, six in a row."""
        rows = -(-len(self.tiles) // _ROW)
        sheet = Image.new("RGB", (_ROW * _SIDE_PX, rows * (_SIDE_PX + _TEXT_PX)))
        for place, (tile, caption) in enumerate(self.tiles):
            left, top = place % _ROW * _SIDE_PX, place // _ROW * (_SIDE_PX + _TEXT_PX)
            sheet.paste(tile, (left, top))
            ImageDraw.Draw(sheet).text((left + 2, top + _SIDE_PX), caption)
        return sheet
