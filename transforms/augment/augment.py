"""Augmentation of a batch of clips: time flip, horizontal flip, crop and resize, color jitter, in that order."""

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from motionshards.transforms.augment.clips import Clips
from motionshards.transforms.augment.color import jitter
from motionshards.transforms.augment.draws import Draws
from motionshards.transforms.augment.flip import mirror_frames, mirror_landmarks, mirror_pose, reverse_time
from motionshards.transforms.augment.resize import resize_frames, resize_landmarks

AnyClips = TypeVar("AnyClips", bound=Clips)


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Settings of augmentation. `Augment()` only converts uint8 images to float.

    Raises:
        ValueError: a probability outside [0, 1], a negative jitter, a hue above half a turn, a crop outside (0, 1], ...
    """

    flip: float = 0.0
    """Probability of a horizontal flip of images, landmarks, yaw and roll."""
    time_flip: float = 0.0
    """Probability that the order of the frames is reversed."""
    brightness: float = 0.0
    """x: one factor for all frames of a clip, drawn uniformly from [max(0, 1 - x), 1 + x]."""
    contrast: float = 0.0
    """As `brightness`."""
    saturation: float = 0.0
    """As `brightness`."""
    hue: float = 0.0
    """x: the hue is rotated by -x to x of a full turn; at most 0.5."""
    crop: float = 1.0
    """Minimum side of the random window relative to the image; its side and position are drawn uniformly. 1 does not crop."""
    size: int | None = None
    """Side of the square output images, px; None keeps the size of the input."""
    dtype: torch.dtype = torch.float32
    """Dtype of the output images; everything is computed in float32."""

    def __post_init__(self) -> None:
        _require("flip and time_flip must be probabilities", 0 <= self.flip <= 1 and 0 <= self.time_flip <= 1)
        _require("jitter must not be negative", min(self.brightness, self.contrast, self.saturation, self.hue) >= 0)
        _require("hue must be at most 0.5", self.hue <= 0.5)
        _require("crop must be above 0 and at most 1", 0 < self.crop <= 1)
        _require("size must be at least 1", self.size is None or self.size >= 1)
        _require("dtype must be a floating-point dtype", self.dtype.is_floating_point)

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """Draw the parameters of `count` clips, on the host. `generator`: a CPU generator, the same for every device.

        Each clip consumes 13 numbers whatever the settings: its row does not depend on `count`, and changing one setting
        does not change the other draws.
        """
        uniform = torch.rand(count, 13, generator=generator, dtype=torch.float64)
        low, high = uniform.new_tensor(self._ranges()).unbind(1)
        side = self.crop + (1 - self.crop) * uniform[:, 10:11]
        return Draws(
            flip=uniform[:, 0] < self.flip,
            time_flip=uniform[:, 1] < self.time_flip,
            color=(low + (high - low) * uniform[:, 2:6]).float(),
            order=uniform[:, 6:10].argsort(dim=1, stable=True),
            window=torch.cat([side, uniform[:, 11:]], dim=1).float(),
        )

    @torch.no_grad()
    def __call__(self, clips: AnyClips, draws: Draws) -> AnyClips:
        """Augment uint8 `clips` by one row of `draws` each. Returns a new object of the same type; other fields are kept.

        Raises:
            ValueError: the frames are not uint8, or the number of draws is not the number of clips
        """
        if clips.frames.dtype != torch.uint8 or len(draws) != len(clips):
            raise ValueError(
                f"expected {len(clips)} draws and uint8 frames, got {len(draws)} draws and {clips.frames.dtype} frames"
            )
        height, width = clips.frames.shape[2:4]
        size = (height, width) if self.size is None else (self.size, self.size)
        windows = _windows(draws.window, (height, width)) if self.crop < 1 or size != (height, width) else None
        flipped = _flip(clips, draws)
        landmarks = flipped.landmarks
        if landmarks is not None and windows is not None:
            landmarks = resize_landmarks(landmarks, windows, size)
        return replace(flipped, frames=self._images(flipped.frames, draws, windows, size), landmarks=landmarks)

    def _ranges(self) -> list[tuple[float, float]]:
        """Minimum and maximum of each column of `Draws.color`."""
        factors = [(max(0.0, 1 - by), 1 + by) for by in (self.brightness, self.contrast, self.saturation)]
        return [*factors, (-self.hue, self.hue)]

    def _images(self, frames: Tensor, draws: Draws, windows: Tensor | None, size: tuple[int, int]) -> Tensor:
        """uint8 [B,n,H,W,3] to [B,n,3,*size]; clip by clip on a CPU, which fits its cache and takes a third of the time."""
        count, n = frames.shape[:2]
        result = torch.empty(count, n, 3, *size, dtype=self.dtype, device=frames.device)
        step = 1 if frames.device.type == "cpu" else max(1, count)
        for start in range(0, count, step):
            part = slice(start, start + step)
            images = to_float(frames[part])
            if windows is not None:
                images = resize_frames(images, windows[part], size).clamp_(0, 1)
            result[part] = jitter(images, draws.color[part], draws.order[part])
        return result


def to_float(frames: Tensor) -> Tensor:
    """uint8 [B,n,H,W,3], 0 to 255, as float32 [B,n,3,H,W], 0 to 1."""
    planes = frames.permute(0, 1, 4, 2, 3)
    return torch.empty(planes.shape, device=frames.device).copy_(planes).div_(255)


def _flip(clips: AnyClips, draws: Draws) -> AnyClips:
    flip, time_flip, width = draws.flip, draws.time_flip, clips.frames.shape[3]
    landmarks, aus = clips.landmarks, clips.aus
    return replace(
        clips,
        frames=mirror_frames(reverse_time(clips.frames, time_flip), flip),
        landmarks=None if landmarks is None else mirror_landmarks(reverse_time(landmarks, time_flip), width, flip),
        aus=None if aus is None else reverse_time(aus, time_flip),
        pose=mirror_pose(reverse_time(clips.pose, time_flip), flip),
        number=reverse_time(clips.number, time_flip),
    )


def _windows(window: Tensor, size: tuple[int, int]) -> Tensor:
    """float32 [B,4], x0 y0 x1 y1 in edge coordinates of images of `size` = (height, width), from `Draws.window`."""
    extent = window.new_tensor([size[1], size[0]])
    side = window[:, :1] * extent
    start = window[:, 1:] * (extent - side)
    return torch.cat([start, start + side], dim=1)


def _require(rule: str, satisfied: bool) -> None:
    if not satisfied:
        raise ValueError(rule)


FOMM = Augment(flip=0.5, time_flip=0.5, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1)
"""Published settings of the first order motion model for VoxCeleb and Tai-Chi. The original repository never flips a clip
that it has reversed in time; here the two are independent."""

FOMM_FASHION = Augment(flip=0.5, time_flip=0.5, hue=0.1)
"""Its settings for Fashion: color jitter changes the hue only."""
