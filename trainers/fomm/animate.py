"""One picture moved as a video moves (section 3.4 of the paper), in a stream: of the video one batch of frames is held."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from motionshards.trainers.fomm.hull import LEAST_AREA
from motionshards.trainers.fomm.keypoints import Keypoints
from motionshards.trainers.fomm.normalize import hull_areas
from motionshards.trainers.video import Picture

logger = logging.getLogger("motionshards")

_LEAST = 1e-6  # of determinants: below, nothing is divided by them


class Networks(Protocol):
    """The three steps of an animation: they may run as PyTorch's modules or as exported graphs. All take and give float32."""

    def kp_detector(self, frames: Tensor) -> Keypoints:
        """Keypoints of pictures [B,C,H,W] in [0, 1]."""

    def process_kp_driving(self, driving: Keypoints, first: Keypoints, source: Keypoints, *, adapt_scale: bool) -> Keypoints:
        """Relative movement of B driving pictures, see `normalize_keypoints`; `first` and `source` are of one picture."""

    def generator(self, source: Tensor, source_keypoints: Keypoints, driving_keypoints: Keypoints) -> Tensor:
        """[B,C,H,W] in [0, 1], the source [1,C,H,W] at B keypoints. What it keeps of a source is good for the same tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """How the driving video moves the source.

    relative: by how its keypoints and jacobians change from a first frame on, else by where they are
    adapt_scale: relative movement is scaled by the sizes of the two faces, as the hulls of keypoints tell them
    """

    relative: bool = True
    adapt_scale: bool = False


class Animator:
    """Moves one source picture, uint8 [H,W,3], by any number of videos.

    What cannot be computed is left out, and the log tells so: scaling where keypoints lie on a line, and turning of what is
    around a keypoint where a jacobian is singular, which is then moved and not turned.
    """

    def __init__(self, networks: Networks, source: Picture, movement: Movement, device: torch.device | str = "cpu") -> None:
        self._networks, self._movement, self._device = networks, movement, device
        self._source = self._tensor([source])
        found = networks.kp_detector(self._source)
        self._turned = _regular(found)
        self._source_keypoints = _steadied(found, self._turned, torch.eye(2, device=found.value.device))
        _tell_singular(self._turned, "the source")

    def animate(self, frames: Iterable[Picture], *, first: Picture | None = None, batch: int = 1) -> Iterator[Picture]:
        """The source in the pose of each frame, uint8 [H,W,3] both, in order.

        first: the frame that relative movement is counted from; None: the first of `frames`
        batch: frames that go through the networks together; no more are held
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
            yield from _pictures(self._networks.generator(self._source, self._source_keypoints, moved))
        if singular:
            logger.warning("in %d of %d frames what is around keypoints with singular jacobians is not turned", singular, count)

    def _start(self, first: Picture) -> tuple[Keypoints, bool]:
        """Keypoints of the frame that is counted from, and whether movement is scaled."""
        found = self._networks.kp_detector(self._tensor([first]))
        if not self._movement.relative:
            return found, False
        _tell_singular(_regular(found), "the first frame")
        flat = min(hull_areas(keypoints.value)[0] for keypoints in (self._source_keypoints, found)) < LEAST_AREA
        if self._movement.adapt_scale and flat:
            logger.warning("keypoints of the source or of the first frame lie on a line: movement is not scaled")
        return found, self._movement.adapt_scale and not flat

    def _moved(self, driving: Keypoints, first: Keypoints, adapt_scale: bool) -> Keypoints:
        """Where the source's keypoints go."""
        source, turned = self._source_keypoints, self._turned & _regular(driving)
        if self._movement.relative:
            turned = turned & _regular(first)
            driving = self._networks.process_kp_driving(driving, first, source, adapt_scale=adapt_scale)
        return driving if source.jacobian is None else _steadied(driving, turned, source.jacobian)

    def _tensor(self, pictures: list[Picture]) -> Tensor:
        """float32 [B,C,H,W] in [0, 1] on the device."""
        stacked = torch.from_numpy(np.stack(pictures)).to(self._device)
        return stacked.permute(0, 3, 1, 2).float() / 255


def _regular(keypoints: Keypoints) -> Tensor:
    """[B,K], which jacobians can be inverted; all where there are none."""
    if keypoints.jacobian is None:
        return torch.ones(keypoints.value.shape[:2], dtype=torch.bool, device=keypoints.value.device)
    a, b, c, d = keypoints.jacobian.flatten(2).unbind(-1)
    return (a * d - b * c).abs() >= _LEAST


def _steadied(keypoints: Keypoints, regular: Tensor, other: Tensor) -> Keypoints:
    """Keypoints with another jacobian where theirs is not regular [B,K]."""
    if keypoints.jacobian is None:
        return keypoints
    return replace(keypoints, jacobian=torch.where(regular[..., None, None], keypoints.jacobian, other))


def _tell_singular(regular: Tensor, where: str) -> None:
    if count := int((~regular).sum()):
        logger.warning("%d keypoints of %s have singular jacobians: what is around them is not turned", count, where)


def _pictures(predictions: Tensor) -> list[Picture]:
    """uint8 [H,W,3] of each prediction, rounded to the nearest."""
    return [*(predictions.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()]
