"""Computes the networks' pose inputs from head poses and landmarks.

The published pose is [head_x, head_y, neck_z, left eye, right eye, mouth]. Here

* head_x: pitch, > 0 looks up; head_y: yaw, > 0 turns to the right of the image; neck_z: roll, > 0 tilts clockwise. They are the
  angles of the target minus those of the source, and 1 is 15 degrees.
* the eyes are the person's own left and right, 0 open, 1 closed; the mouth is 0 closed, 1 open. They are those of the target.

The signs of head_x, head_y and neck_z in the renders that the published weights were trained on are not documented.
"""

import torch
from torch import Tensor

MAX_DEG = 15.0
"""The angle of the value 1, and the largest rotation, degrees."""
DEFAULT_EXPRESSION = (0.0, 0.0, 1.0)
"""Default pose of the drawings that the published networks expect: eyes and mouth open."""

# Ratios, see `expression`. For dlib's landmarks of 430 frames of VoxCeleb2 at 256 px, the median of eyes is 0.28 and their 10th
# percentile 0.16, and the 95th percentile of mouths is 0.52.
_CLOSED_EYE, _OPEN_EYE = 0.15, 0.25
_OPEN_MOUTH = 0.5
_RIGHT_EYE, _LEFT_EYE = 36, 42  # the first of six landmarks: corner, two above, corner, two below
_MOUTH_LEFT, _MOUTH_RIGHT, _UPPER_LIP, _LOWER_LIP = 60, 64, 62, 66  # of the inner contour


def rotation(pose_deg: Tensor) -> Tensor:
    """Return pitch, yaw and roll [B,3] from sources to targets, in units of 15 degrees.

    These are differences of angles. For a source within 3 degrees of frontal they differ from the rotation between the two by at
    most 1.5 degrees, which is less than the accuracy of landmarks.

    pose_deg: [B,2,3], yaw, pitch and roll of source and target, degrees
    """
    return (pose_deg[:, 1] - pose_deg[:, 0])[:, [1, 0, 2]] / MAX_DEG


def expression(landmarks_px: Tensor) -> Tensor:
    """Return left eye, right eye and mouth [...,3], each in [0, 1], of landmarks [...,68,2]; NaN if those are NaN.

    Computed from the aspect ratio of eyes (Soukupova and Cech 2016), and the ratio of height and width of the mouth's opening.
    """
    eyes = [_eye_ratio(landmarks_px, first) for first in (_LEFT_EYE, _RIGHT_EYE)]
    closed = [((_OPEN_EYE - eye) / (_OPEN_EYE - _CLOSED_EYE)).clamp(0, 1) for eye in eyes]
    height, width = _distance(landmarks_px, _UPPER_LIP, _LOWER_LIP), _distance(landmarks_px, _MOUTH_LEFT, _MOUTH_RIGHT)
    return torch.stack([*closed, (height / width / _OPEN_MOUTH).clamp(0, 1)], dim=-1)


def _eye_ratio(landmarks_px: Tensor, first: int) -> Tensor:
    heights = _distance(landmarks_px, first + 1, first + 5) + _distance(landmarks_px, first + 2, first + 4)
    return heights / (2 * _distance(landmarks_px, first, first + 3))


def _distance(landmarks_px: Tensor, one: int, other: int) -> Tensor:
    apart: Tensor = torch.linalg.vector_norm(landmarks_px[..., one, :] - landmarks_px[..., other, :], dim=-1)
    return apart
