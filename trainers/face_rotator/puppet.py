"""Poses the head in an image with trained networks.

Transparency is handled in two ways. The published networks were trained on images with an alpha channel: they receive and return
alpha, with straight colors. Networks trained on videos know opaque images only: they receive the image on black, and its alpha is
warped by the rotator's flow.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from motionshards.trainers.face_rotator.color import light, to_linear, to_srgb, with_alpha
from motionshards.trainers.face_rotator.networks import warp
from motionshards.trainers.face_rotator.pose import MAX_DEG
from motionshards.trainers.face_rotator.restore import Restored
from motionshards.trainers.video import Rgb

_MIN_ALPHA = 0.5 / 255  # smaller values are stored as 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """A rotation relative to the pose in the image, degrees: yaw to the right of the image, pitch up, roll clockwise.

    Raises:
        ValueError: an angle exceeds MAX_DEG, for which networks are trained
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def __post_init__(self) -> None:
        for name in ("yaw", "pitch", "roll"):
            if not abs(getattr(self, name)) <= MAX_DEG:
                raise ValueError(f"{name} is {getattr(self, name):g}, must be from -{MAX_DEG:g} to {MAX_DEG:g} degrees")


class Puppet:
    """An image that is morphed once and can then be rotated repeatedly.

    image: uint8 [size,size,3], or [size,size,4] with straight alpha
    expression: left eye, right eye, mouth, see `trainers.face_rotator.pose`; None for no morphing
    """

    @torch.inference_mode()
    def __init__(
        self, restored: Restored, image: Rgb, expression: tuple[float, float, float] | None, device: torch.device | str
    ) -> None:
        self._rotator, self._combiner = (restored.networks[name].to(device) for name in ("rotator", "combiner"))
        values = torch.tensor(image, device=device).permute(2, 0, 1)[None].float() / 255
        self._transparent, self._matte = values.shape[1] == 4, restored.matte
        self._alpha = values[:, 3:] if self._transparent else torch.ones_like(values[:, :1])
        self._input = self._network_input(to_linear(values[:, :3]))
        if expression is not None:
            morpher = restored.networks["morpher"].to(device)
            self._input = morpher(self._input, torch.tensor([expression], device=device)).image

    @torch.inference_mode()
    def posed(self, pose: Pose) -> Rgb:
        """Rotate the head: uint8, in the shape of the input image."""
        change = torch.tensor([[pose.pitch, pose.yaw, pose.roll]], device=self._input.device) / MAX_DEG
        rotated = self._rotator(self._input, change)
        combined = self._combiner(rotated.painted, rotated.moved, change).image
        if not self._transparent:
            return _to_uint8(to_srgb(light(combined)))
        if self._matte:
            return _to_uint8(torch.cat([to_srgb(light(combined)), (combined[:, 3:] + 1) / 2], dim=1))
        alpha = warp(self._alpha, rotated.flow)
        colors = (light(combined) / alpha.clamp(min=_MIN_ALPHA)).clamp(max=1) * (alpha >= _MIN_ALPHA)
        return _to_uint8(torch.cat([to_srgb(colors), alpha], dim=1))

    def _network_input(self, linear: Tensor) -> Tensor:
        """Convert linear light [1,3,H,W] to the networks' input [1,4,H,W]; fully transparent pixels are black in both ways."""
        if self._matte:
            return with_alpha(linear * (self._alpha > 0), self._alpha)
        return with_alpha(linear * self._alpha, torch.ones_like(self._alpha))


def _to_uint8(values: Tensor) -> Rgb:
    """Convert [1,C,H,W] in [0, 1] to uint8 [H,W,C]."""
    image: Rgb = np.ascontiguousarray((values[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    return image
