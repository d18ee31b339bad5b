"""One image of an evaluation: for some clips source, real frame, reconstruction and difference, with labels."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from motionshards.trainers.evaluation.scores import Example, Pixels

COLUMNS = ("source", "real frame", "reconstruction", "difference")
LEAST_PX = 192
"""Smaller images are enlarged by a whole number to at least this side, so that labels fit."""
HEADER_PX, CAPTION_PX, GAP_PX = 24, 18, 4


def sheet(examples: Sequence[Example], title: str) -> Pixels:
    """uint8 [H,W,3]: a row for each example below its caption. The difference is absolute, black where there is none."""
    side = len(examples[0].real)
    scale = -(-LEAST_PX // side)
    side *= scale
    width = len(COLUMNS) * (side + GAP_PX) - GAP_PX
    page = Image.new("RGB", (width, 2 * HEADER_PX + len(examples) * (CAPTION_PX + side)), "white")
    pen, font, small = ImageDraw.Draw(page), ImageFont.load_default(15), ImageFont.load_default(12)
    pen.text((GAP_PX, HEADER_PX / 2), title, "black", font, anchor="lm")
    for column, label in enumerate(COLUMNS):
        pen.text((column * (side + GAP_PX) + side / 2, 1.5 * HEADER_PX), label, "black", font, anchor="mm")
    for row, example in enumerate(examples):
        top = 2 * HEADER_PX + row * (CAPTION_PX + side)
        caption = f"{example.key}   source frame {example.source}, real frame {example.target}   L1 {example.l1:.4f}"
        pen.text((GAP_PX, top + CAPTION_PX / 2), caption, "black", small, anchor="lm")
        for column, image in enumerate(_images(example)):
            enlarged = Image.fromarray(image.repeat(scale, axis=0).repeat(scale, axis=1))
            page.paste(enlarged, (column * (side + GAP_PX), top + CAPTION_PX))
    return np.asarray(page)


def _images(example: Example) -> tuple[Pixels, ...]:
    difference = np.abs(example.real.astype(np.int16) - example.made).astype(np.uint8)
    return example.given, example.real, example.made, difference
