"""Animates an image with a driving video (section 3.4 of the paper), as a stream with one batch of frames in memory."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from motionshards.trainers.fomm.hull import MIN_AREA
from motionshards.trainers.fomm.keypoints import Keypoints
from motionshards.trainers.fomm.normalize import hull_areas
from motionshards.trainers.video import Rgb

logger = logging.getLogger("motionshards")

_MIN_DETERMINANT = 1e-6  # smallest magnitude of a determinant that is used as a divisor


class Networks(Protocol):
    """The three steps of an animation, as PyTorch modules or exported graphs. Inputs and outputs are float32."""

    def kp_detector(self, frames: Tensor) -> Keypoints:
        """Detect the keypoints of images [B,C,H,W] in [0, 1]."""

    def process_kp_driving(self, driving: Keypoints, first: Keypoints, source: Keypoints, *, adapt_scale: bool) -> Keypoints:
        """Compute relative motion of B driving images, see `normalize_keypoints`; `first` and `source` are of one image."""

    def generator(self, source: Tensor, source_keypoints: Keypoints, driving_keypoints: Keypoints) -> Tensor:
        """Animate the source [1,C,H,W] to B keypoints: [B,C,H,W] in [0, 1]. May cache results for the same source tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """How the driving video moves the source.

    relative: apply the changes of keypoints and Jacobians from a first frame on, instead of their absolute values
    adapt_scale: scale relative motion by the sizes of the two faces, measured by the hulls of keypoints
    """

    relative: bool = True
    adapt_scale: bool = False


class Animator:
    """Animates one source image, uint8 [H,W,3], with any number of videos.

    With a warning, motion is not scaled if keypoints are on a line, and a keypoint with a singular Jacobian is moved but not
    rotated.
    """

    def __init__(self, networks: Networks, source: Rgb, movement: Movement, device: torch.device | str = "cpu") -> None:
        self._networks, self._movement, self._device = networks, movement, device
        self._source = self._tensor([source])
        found = networks.kp_detector(self._source)
        self._source_regular = _regular(found)
        self._source_keypoints = _with_regular_jacobians(found, self._source_regular, torch.eye(2, device=found.value.device))
        _warn_of_singular(self._source_regular, "the source")

    def animate(self, frames: Iterable[Rgb], *, first: Rgb | None = None, batch: int = 1) -> Iterator[Rgb]:
        """Yield the source in the pose of each frame in order, both uint8 [H,W,3].

        first: reference frame of relative motion; None for the first of `frames`
        batch: number of frames that are computed together, and held in memory
        """
        frames = iter(frames)
        if first is None and (first := next(frames, None)) is not None:
            frames = chain([first], frames)
        if first is None:
            return
        start, adapt_scale = self._start(first)
        count = singular = 0
        while part := [*islice(frames, batch)]:
            found = self._networks.kp_detector(self._tensor(part))
            count, singular = count + len(part), singular + int((~_regular(found)).any(dim=1).sum())
            moved = self._moved(found, start, adapt_scale)
            yield from _images(self._networks.generator(self._source, self._source_keypoints, moved))
        if singular:
            logger.warning("keypoints with singular Jacobians are not rotated in %d of %d frames", singular, count)

    def _start(self, first: Rgb) -> tuple[Keypoints, bool]:
        """Return the keypoints of the reference frame, and whether motion is scaled."""
        found = self._networks.kp_detector(self._tensor([first]))
        if not self._movement.relative:
            return found, False
        _warn_of_singular(_regular(found), "the first frame")
        flat = min(hull_areas(keypoints.value)[0] for keypoints in (self._source_keypoints, found)) < MIN_AREA
        if self._movement.adapt_scale and flat:
            logger.warning("motion is not scaled, since keypoints of the source or of the first frame are on a line")
        return found, self._movement.adapt_scale and not flat

    def _moved(self, driving: Keypoints, first: Keypoints, adapt_scale: bool) -> Keypoints:
        """Return the target keypoints of the source."""
        source, regular = self._source_keypoints, self._source_regular & _regular(driving)
        if self._movement.relative:
            regular = regular & _regular(first)
            driving = self._networks.process_kp_driving(driving, first, source, adapt_scale=adapt_scale)
        return driving if source.jacobian is None else _with_regular_jacobians(driving, regular, source.jacobian)

    def _tensor(self, images: list[Rgb]) -> Tensor:
        """Convert to float32 [B,C,H,W] in [0, 1] on the device."""
        stacked = torch.from_numpy(np.stack(images)).to(self._device)
        return stacked.permute(0, 3, 1, 2).float() / 255


def _regular(keypoints: Keypoints) -> Tensor:
    """Return which Jacobians can be inverted, bool [B,K]; all True without Jacobians."""
    if keypoints.jacobian is None:
        return torch.ones(keypoints.value.shape[:2], dtype=torch.bool, device=keypoints.value.device)
    a, b, c, d = keypoints.jacobian.flatten(2).unbind(-1)
    return (a * d - b * c).abs() >= _MIN_DETERMINANT


def _with_regular_jacobians(keypoints: Keypoints, regular: Tensor, other: Tensor) -> Keypoints:
    """Replace the Jacobians of keypoints that are not `regular`, bool [B,K], by `other`."""
    if keypoints.jacobian is None:
        return keypoints
    return replace(keypoints, jacobian=torch.where(regular[..., None, None], keypoints.jacobian, other))


def _warn_of_singular(regular: Tensor, where: str) -> None:
    if count := int((~regular).sum()):
        logger.warning("%d keypoints of %s have singular Jacobians and are not rotated", count, where)


def _images(predictions: Tensor) -> list[Rgb]:
    """Round each prediction to uint8 [H,W,3]."""
    return [*(predictions.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()]
