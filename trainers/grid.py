"""Labeled image grids of training steps and evaluations."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
"""[..., H,W,3], RGB."""
MIN_PX = 192
"""Smaller images are enlarged by an integer factor to at least this side, so that labels fit."""
HEADER_PX, CAPTION_PX, GAP_PX = 24, 18, 4


def grid(columns: Mapping[str, Sequence[Pixels] | Pixels], title: str = "", captions: Sequence[str] = ()) -> Pixels:
    """Draw a column of square images, all of one size, below each label: uint8 [H,W,3].

    title: line above the labels
    captions: line above each row
    """
    images = [*columns.values()]
    scale = -(-MIN_PX // len(images[0][0]))
    side = scale * len(images[0][0])
    above, caption_px = HEADER_PX if title else 0, CAPTION_PX if captions else 0
    top, pitch = above + HEADER_PX, side + (caption_px or GAP_PX)
    page = Image.new("RGB", (len(images) * (side + GAP_PX) - GAP_PX, top + len(images[0]) * pitch), "white")
    pen, font, small = ImageDraw.Draw(page), ImageFont.load_default(15), ImageFont.load_default(12)
    pen.text((GAP_PX, HEADER_PX / 2), title, "black", font, anchor="lm")
    for row, caption in enumerate(captions):
        pen.text((GAP_PX, top + row * pitch + CAPTION_PX / 2), caption, "black", small, anchor="lm")
    for column, (label, rows) in enumerate(columns.items()):
        left = column * (side + GAP_PX)
        pen.text((left + side / 2, above + HEADER_PX / 2), label, "black", font, anchor="mm")
        for row, image in enumerate(rows):
            page.paste(Image.fromarray(image.repeat(scale, 0).repeat(scale, 1)), (left, top + row * pitch + caption_px))
    return np.asarray(page)
