"""What is done to a batch of clips before a model sees it: time flip, flip, crop and resize, colours, in that order."""

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from motionshards.transforms.augment.clips import Clips
from motionshards.transforms.augment.colour import jitter
from motionshards.transforms.augment.draws import Draws
from motionshards.transforms.augment.flip import mirror_frames, mirror_landmarks, mirror_pose, reverse_time
from motionshards.transforms.augment.resize import resize_frames, resize_landmarks

AnyClips = TypeVar("AnyClips", bound=Clips)


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What may happen to a clip. `Augment()` only turns uint8 into float pictures.

    Raises:
        ValueError: a probability outside [0, 1], a negative jitter, a hue above half a turn, a crop outside (0, 1], ...
    """

    flip: float = 0.0
    """Probability that left and right are swapped, in pictures, landmarks, yaw and roll."""
    time_flip: float = 0.0
    """Probability that the frames come in reverse order."""
    brightness: float = 0.0
    """x: the factor is drawn uniformly from max(0, 1 - x) to 1 + x, one for all frames of a clip."""
    contrast: float = 0.0
    """As `brightness`."""
    saturation: float = 0.0
    """As `brightness`."""
    hue: float = 0.0
    """x: the hue is turned by -x to x of a whole turn; at most 0.5."""
    crop: float = 1.0
    """Least side of the random window, as a share of the picture's; its side and place are drawn uniformly. 1 crops nothing."""
    size: int | None = None
    """Side of the square pictures that come out, px; None: as they come in."""
    dtype: torch.dtype = torch.float32
    """Of the pictures that come out; all is computed in float32."""

    def __post_init__(self) -> None:
        _require("flip and time_flip are probabilities", 0 <= self.flip <= 1 and 0 <= self.time_flip <= 1)
        _require("a jitter is not negative", min(self.brightness, self.contrast, self.saturation, self.hue) >= 0)
        _require("a hue is turned by half a turn at most", self.hue <= 0.5)
        _require("the least side of a crop is above 0 and at most 1", 0 < self.crop <= 1)
        _require("a picture has at least one pixel", self.size is None or self.size >= 1)
        _require("pictures are of a floating dtype", self.dtype.is_floating_point)

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """The parameters of `count` clips, on the host. `generator`: a CPU generator, so that every device sees the same.

        Each clip takes 13 numbers whatever the settings: its row does not depend on `count`, and changing one setting
        leaves the rest as it was.
        """
        uniform = torch.rand(count, 13, generator=generator, dtype=torch.float64)
        low, high = uniform.new_tensor(self._ranges()).unbind(1)
        side = self.crop + (1 - self.crop) * uniform[:, 10:11]
        return Draws(
            flip=uniform[:, 0] < self.flip,
            time_flip=uniform[:, 1] < self.time_flip,
            colour=(low + (high - low) * uniform[:, 2:6]).float(),
            order=uniform[:, 6:10].argsort(dim=1, stable=True),
            window=torch.cat([side, uniform[:, 11:]], dim=1).float(),
        )

    @torch.no_grad()
    def __call__(self, clips: AnyClips, draws: Draws) -> AnyClips:
        """uint8 `clips` with one row of `draws` each, augmented: a new object of the same type, other fields kept.

        Raises:
            ValueError: the frames are not uint8, or there is not one draw a clip
        """
        if clips.frames.dtype != torch.uint8 or len(draws) != len(clips):
            raise ValueError(f"{len(draws)} draws for {len(clips)} clips of {clips.frames.dtype}, which should be uint8")
        height, width = clips.frames.shape[2:4]
        size = (height, width) if self.size is None else (self.size, self.size)
        windows = _windows(draws.window, (height, width)) if self.crop < 1 or size != (height, width) else None
        flipped = _flip(clips, draws)
        landmarks = flipped.landmarks
        if landmarks is not None and windows is not None:
            landmarks = resize_landmarks(landmarks, windows, size)
        return replace(flipped, frames=self._pictures(flipped.frames, draws, windows, size), landmarks=landmarks)

    def _ranges(self) -> list[tuple[float, float]]:
        """Least and greatest value of each column of `Draws.colour`."""
        factors = [(max(0.0, 1 - by), 1 + by) for by in (self.brightness, self.contrast, self.saturation)]
        return [*factors, (-self.hue, self.hue)]

    def _pictures(self, frames: Tensor, draws: Draws, windows: Tensor | None, size: tuple[int, int]) -> Tensor:
        """uint8 [B,n,H,W,3] to [B,n,3,*size]; on a processor clip by clip, which its cache holds: a third of the time."""
        count, n = frames.shape[:2]
        result = torch.empty(count, n, 3, *size, dtype=self.dtype, device=frames.device)
        step = 1 if frames.device.type == "cpu" else max(1, count)
        for start in range(0, count, step):
            part = slice(start, start + step)
            pictures = to_float(frames[part])
            if windows is not None:
                pictures = resize_frames(pictures, windows[part], size).clamp_(0, 1)
            result[part] = jitter(pictures, draws.colour[part], draws.order[part])
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
    """float32 [B,4], x0 y0 x1 y1 in edge coordinates of pictures of `size` = (height, width), from `Draws.window`."""
    extent = window.new_tensor([size[1], size[0]])
    side = window[:, :1] * extent
    start = window[:, 1:] * (extent - side)
    return torch.cat([start, start + side], dim=1)


def _require(rule: str, kept: bool) -> None:
    if not kept:
        raise ValueError(rule)


FOMM = Augment(flip=0.5, time_flip=0.5, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1)
"""The published settings of the first order motion model for VoxCeleb and Tai-Chi. Its authors' code never mirrors a clip
that it has reversed; here the two are independent."""

FOMM_FASHION = Augment(flip=0.5, time_flip=0.5, hue=0.1)
"""Its settings for Fashion: of the colours, only the hue is changed."""
