"""Thumbnails with known shot boundaries, composed from clips of different people, and with motion and light without a boundary.

Thumbnails are uint8 [T,27,48,3]; effects that move the frame use twice the size, uint8 [T,54,96,3].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

Clip = NDArray[np.uint8]

LENGTHS = (0, 1, 2, 3, 5, 10, 15, 25)
"""Blended frames of the transitions; 0 is a hard cut."""
FADE = "fade"
"""A fade to black and a fade from black, 12 frames each."""
_FADE_FRAMES = 12
_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "camera", "rocket", "hubble_deep_field", "immunohistochemistry")


@dataclass(frozen=True, slots=True)
class Transition:
    """Frames [first, start) are blended; the next shot begins at `start`."""

    kind: str
    first: int
    start: int


def dissolve(before: Clip, after: Clip, frames: int) -> Clip:
    """Concatenate two clips with `frames` overlapping frames, in which the second replaces the first."""
    if not frames:
        return np.concatenate([before, after])
    weight = (np.arange(1, frames + 1) / (frames + 1))[:, None, None, None]
    mixed = before[-frames:] * (1 - weight) + after[:frames] * weight
    return np.concatenate([before[:-frames], mixed.round().astype(np.uint8), after[frames:]])


def through_black(before: Clip, after: Clip) -> Clip:
    """Concatenate two clips with a fade to black and from black."""
    weight = np.ones(len(before) + len(after))
    half = (np.arange(_FADE_FRAMES) + 1) / (_FADE_FRAMES + 1)
    weight[len(before) - _FADE_FRAMES : len(before) + _FADE_FRAMES] = [*half[::-1], *half]
    return (np.concatenate([before, after]) * weight[:, None, None, None]).round().astype(np.uint8)


def reel(clips: Sequence[Clip], kinds: Sequence[str]) -> tuple[Clip, list[Transition]]:
    """Concatenate clips with transitions between them. kinds: a number of LENGTHS, or FADE."""
    frames, transitions = clips[0], []
    for kind, after in zip(kinds, clips[1:], strict=True):
        end = len(frames)
        if kind == FADE:
            frames = through_black(frames, after)
            transitions.append(Transition(kind, end - _FADE_FRAMES, end + _FADE_FRAMES))
        else:
            frames = dissolve(frames, after, int(kind))
            transitions.append(Transition(kind, end - int(kind), end))
    return frames, transitions


def flash(clip: Clip) -> Clip:
    """Make two frames in the middle nearly white."""
    lit, middle = clip.copy(), len(clip) // 2
    lit[middle : middle + 2] = (lit[middle : middle + 2] * 0.2 + 204).astype(np.uint8)
    return lit


def pan(large: Clip, frames: int = 12) -> Clip:
    """Crop by a window that moves by its own width within `frames` frames in the middle."""
    way = np.clip((np.arange(len(large)) - len(large) // 2) / frames, 0, 1)
    return _moved(large, np.stack([14 + 0 * way, 48 * way], axis=1))


def shake(large: Clip, seed: int) -> Clip:
    """Crop by a window that jumps by up to an eighth of its width in each frame."""
    return _moved(large, np.array([14, 24]) + np.random.default_rng(seed).integers(-3, 4, (len(large), 2)))


def _moved(large: Clip, corners: NDArray[np.float64] | NDArray[np.int64]) -> Clip:
    places = corners.round().astype(int).tolist()
    return np.stack([frame[y : y + 27, x : x + 48] for frame, (y, x) in zip(large, places, strict=True)])


def photographs(frames: int) -> list[Clip]:
    """Photographs of scikit-image filmed by a slowly moving camera, for use without real videos."""
    return [_filmed(getattr(data, name)(), frames, seed) for seed, name in enumerate(_PHOTOGRAPHS)]


def _filmed(photograph: NDArray[np.uint8], frames: int, seed: int) -> Clip:
    image = Image.fromarray(photograph).convert("RGB")
    width, height = image.width / 2, image.height / 2
    speed = np.random.default_rng(seed).uniform(-0.1, 0.1, 2) * (width, height) / 25
    corners = (width / 2, height / 2) + np.outer(np.arange(frames) - frames / 2, speed)
    boxes = [(x, y, x + width, y + height) for x, y in corners.tolist()]
    return np.stack([np.asarray(image.resize((48, 27), Image.Resampling.BICUBIC, box)) for box in boxes])
