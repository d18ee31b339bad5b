"""The waveform of a clip's sound as an image."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from motionshards.dataset.plotting.overlay import BOX, CHAINS, PANEL

# Quieter sounds are not amplified, or noise would look like speech.
_QUIETEST_PEAK = 0.01


def envelope(samples: NDArray[np.int16], columns: int) -> NDArray[np.float32]:
    """The minimum and maximum sample in each of `columns` parts of equal length, float32 [columns,2].

    samples: int16 [n, channels]
    Values are normalized to the largest magnitude of the clip, unless that is below -40 dB of full scale.
    """
    starts = np.arange(columns) * len(samples) // columns
    low, high = np.minimum.reduceat(samples.min(axis=1), starts), np.maximum.reduceat(samples.max(axis=1), starts)
    edges = np.stack([low, high], axis=1) / np.float32(32768)
    return (edges / max(float(np.abs(edges).max()), _QUIETEST_PEAK)).astype(np.float32)


def waveform(samples: NDArray[np.int16], size_px: tuple[int, int]) -> Image.Image:
    """Draw samples int16 [n, channels] as an image of width and height `size_px`."""
    image = Image.new("RGB", size_px, PANEL)
    pen, middle = ImageDraw.Draw(image), (size_px[1] - 1) / 2
    for x, (low, high) in enumerate(envelope(samples, size_px[0]).tolist()):
        pen.line([(x, middle - high * middle), (x, middle - low * middle)], CHAINS[0][3])
    return image


def marked_at(strip: Image.Image, shares: Iterable[float]) -> Image.Image:
    """A copy of a waveform with a line at each of these times, given as fractions of the clip's length."""
    image = strip.copy()
    pen = ImageDraw.Draw(image)
    for share in shares:
        x = round(share * (strip.width - 1))
        pen.line([(x, 0), (x, strip.height)], BOX)
    return image
