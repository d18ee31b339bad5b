"""A clip that moves, as the images of a GIF: its stills, or its stored video above a waveform of its sound."""

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

_MOST_PX = 300_000_000  # the images are in memory together
_MOST_FPS = 12.5
_SHORTEST_MS, _LONGEST_MS, _UNKNOWN_MS = 40, 500, 200
_PALETTE_PX = 64
_STRIP = 4  # times as high is a frame


@dataclass(frozen=True, slots=True)
class Animation:
    """RGB images of one size, and how long each is shown, in multiples of 10 ms: a GIF counts hundredths of a second."""

    pictures: Sequence[Image.Image] = field(repr=False)
    delays_ms: Sequence[int]


def of_stills(sample: Sample, size_px: int, drawn: bool) -> Animation:
    """The stills of a clip at their times. Raises ConfigError: too many pixels."""
    _check(len(sample.frames), size_px, "ask for a smaller --gif-px")
    pictures = [marked(frame, size_px, sample.marks(number) if drawn else None) for number, frame in enumerate(sample.frames)]
    return Animation(pictures, delays_ms(sample.meta))


def of_video(motion: Motion, size_px: int, drawn: bool) -> Animation:
    """Every n-th frame of a stored video, at most 12.5 a second, above the waveform of its sound, on which a line moves.

    Raises:
        ConfigError: too many pixels
        DatasetError: video or sound is damaged
    """
    numbers = np.arange(0, len(motion), ceil(motion.video.rate / _MOST_FPS))
    _check(len(numbers), max(size_px, motion.video.size_px), "ask for its --mp4")
    pictures = [
        marked(frame, size_px, motion.marks(number) if drawn else None)
        for number, frame in zip(numbers.tolist(), motion.frames(numbers), strict=True)
    ]
    if sound := motion.sound():
        strip = waveform(sound.samples, (size_px, size_px // _STRIP))
        pictures = [
            _above(picture, marked_at(strip, [number / len(motion)]))
            for number, picture in zip(numbers.tolist(), pictures, strict=True)
        ]
    ends = np.round(np.append(numbers, len(motion)) * (100 / float(motion.video.rate)))
    return Animation(pictures, (np.diff(ends) * 10).astype(int).tolist())


def _check(frames: int, size_px: int, advice: str) -> None:
    if frames * size_px**2 > _MOST_PX:
        raise ConfigError(f"a GIF of {frames} frames of {size_px} px is too large: {advice}")


def _above(picture: Image.Image, strip: Image.Image) -> Image.Image:
    whole = Image.new("RGB", (picture.width, picture.height + strip.height))
    whole.paste(picture)
    whole.paste(strip, (0, picture.height))
    return whole


def in_shared_colours(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """The images in 256 colours that all of them share: colours of each one's own flicker."""
    small: list[NDArray[np.uint8]] = [np.asarray(picture.resize((_PALETTE_PX, _PALETTE_PX))) for picture in pictures]
    colours = Image.fromarray(np.concatenate(small)).quantize(256 - len(DRAWN))
    # Marks are few pixels, so their colours would be lost.
    colours.putpalette([*(colours.getpalette() or []), *(value for colour in DRAWN for value in colour)])
    return [picture.quantize(palette=colours) for picture in pictures]


def delays_ms(meta: dict[str, Any]) -> list[int]:
    """How long each still is shown: until the next one's time, but within what can be watched.

    The last one, and those before a new file, are shown as long as the others are on average.
    """
    steps = np.append(np.diff(np.array(meta["pts_s"], np.float64)), 0) * 1000
    steps[:-1][np.diff(meta["span"]) != 0] = 0
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else _UNKNOWN_MS
    shown = np.where(steps > 0, steps, usual).clip(_SHORTEST_MS, _LONGEST_MS)
    return [int(round(delay, -1)) for delay in shown]
