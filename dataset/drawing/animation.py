"""A clip as the images of a GIF: its stills, or its stored video above the waveform of its sound."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motionshards.dataset.drawing.motion import Motion
from motionshards.dataset.index import Sample
from motionshards.dataset.plotting.overlay import DRAWN, marked
from motionshards.dataset.plotting.waveform import marked_at, waveform
from motionshards.schemas.errors import ConfigError

_MOST_PX = 300_000_000  # all images are in memory at once
_MOST_FPS = 12.5
_SHORTEST_MS, _LONGEST_MS, _UNKNOWN_MS = 40, 500, 200
_PALETTE_PX = 64
_STRIP = 4  # height of a frame relative to the waveform


@dataclass(frozen=True, slots=True)
class Animation:
    """RGB images of one size, and the delay of each in multiples of 10 ms, the resolution of GIF."""

    images: Sequence[Image.Image] = field(repr=False)
    delays_ms: Sequence[int]


def of_stills(sample: Sample, size_px: int, drawn: bool) -> Animation:
    """The stills of a clip at their times. Raises ConfigError: too many pixels."""
    _check(len(sample.frames), size_px, "use a smaller --gif-px")
    images = [marked(frame, size_px, sample.marks(number) if drawn else None) for number, frame in enumerate(sample.frames)]
    return Animation(images, delays_ms(sample.meta))


def of_video(motion: Motion, size_px: int, drawn: bool) -> Animation:
    """Every n-th frame of a stored video, at most 12.5 fps, above the waveform of its sound with a moving line.

    Raises:
        ConfigError: too many pixels
        DatasetError: video or sound is damaged
    """
    numbers = np.arange(0, len(motion), ceil(motion.video.rate / _MOST_FPS))
    _check(len(numbers), max(size_px, motion.video.size_px), "use --mp4")
    images = [
        marked(frame, size_px, motion.marks(number) if drawn else None)
        for number, frame in zip(numbers.tolist(), motion.frames(numbers), strict=True)
    ]
    if sound := motion.sound():
        strip = waveform(sound.samples, (size_px, size_px // _STRIP))
        images = [
            _above(image, marked_at(strip, [number / len(motion)]))
            for number, image in zip(numbers.tolist(), images, strict=True)
        ]
    ends = np.round(np.append(numbers, len(motion)) * (100 / float(motion.video.rate)))
    return Animation(images, (np.diff(ends) * 10).astype(int).tolist())


def _check(frames: int, size_px: int, advice: str) -> None:
    if frames * size_px**2 > _MOST_PX:
        raise ConfigError(f"a GIF of {frames} frames of {size_px} px is too large: {advice}")


def _above(image: Image.Image, strip: Image.Image) -> Image.Image:
    whole = Image.new("RGB", (image.width, image.height + strip.height))
    whole.paste(image)
    whole.paste(strip, (0, image.height))
    return whole


def in_shared_colors(images: Sequence[Image.Image]) -> list[Image.Image]:
    """Quantize images to a shared palette of 256 colors; with separate palettes, colors would flicker."""
    small: list[NDArray[np.uint8]] = [np.asarray(image.resize((_PALETTE_PX, _PALETTE_PX))) for image in images]
    colors = Image.fromarray(np.concatenate(small)).quantize(256 - len(DRAWN))
    # Marks cover few pixels, so their colors would be lost.
    colors.putpalette([*(colors.getpalette() or []), *(value for color in DRAWN for value in color)])
    return [image.quantize(palette=colors) for image in images]


def delays_ms(meta: dict[str, Any]) -> list[int]:
    """The delay of each still: the time to the next one, clamped to 40 to 500 ms.

    The last still, and those before a new file, get the median delay of the others.
    """
    steps = np.append(np.diff(np.array(meta["pts_s"], np.float64)), 0) * 1000
    steps[:-1][np.diff(meta["span"]) != 0] = 0
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else _UNKNOWN_MS
    shown = np.where(steps > 0, steps, usual).clip(_SHORTEST_MS, _LONGEST_MS)
    return [int(round(delay, -1)) for delay in shown]
