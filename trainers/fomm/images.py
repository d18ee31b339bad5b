"""The image grid of a training step."""

import colorsys

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from motionshards.trainers.fomm.generator import deform
from motionshards.trainers.fomm.keypoints import Keypoints
from motionshards.trainers.fomm.losses import GeneratorResult

_RADIUS = 0.012


def step_images(source: Tensor, driving: Tensor, result: GeneratorResult) -> dict[str, Tensor]:
    """Return images [B,3,H,W] by label. `warped source` is the source warped by the flow; `occlusion` is black where hidden parts
    have to be generated.
    """
    count, size = len(source), source.shape[-2:]
    with torch.no_grad():
        generated = result.generated
        hidden = generated.motion.occlusion
        occlusion = torch.ones_like(source[:, :1]) if hidden is None else F.interpolate(hidden[:count].float(), size=size)
        return {
            "source": with_keypoints(source, result.source_keypoints[:count]),
            "driving": with_keypoints(driving, result.driving_keypoints[:count]),
            "prediction": generated.prediction[:count],
            "warped source": deform(source, generated.motion.flow[:count], align_corners=generated.align_corners),
            "occlusion": occlusion.expand(-1, 3, -1, -1),
        }


def with_keypoints(frames: Tensor, keypoints: Keypoints) -> Tensor:
    """Draw a disc at each keypoint on images [B,3,H,W], with a different color per keypoint."""
    height, width = frames.shape[-2:]
    y, x = (torch.linspace(-1, 1, length, device=frames.device) for length in (height, width))
    points = keypoints.value.detach().float()
    squared = (x - points[..., 0, None, None]) ** 2 + (y[:, None] - points[..., 1, None, None]) ** 2
    marked = frames.float().clone()
    for number in range(points.shape[1]):
        color = torch.tensor(colorsys.hsv_to_rgb(number / points.shape[1], 1, 1), device=frames.device)
        marked = torch.where((squared[:, number] < (2 * _RADIUS) ** 2)[:, None], color[:, None, None], marked)
    return marked
