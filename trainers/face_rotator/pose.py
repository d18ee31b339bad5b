"""What the networks are told to do, from head poses and landmarks.

The published pose is [head_x, head_y, neck_z, left eye, right eye, mouth]. Here

* head_x: pitch, > 0 looks up; head_y: yaw, > 0 turns to the picture's right; neck_z: roll, > 0 tilts clockwise. They are angles
  of the target less those of the source, and 1 is 15 degrees.
* the eyes are the person's own left and right, 0 open, 1 closed; the mouth is 0 closed, 1 open. They are those of the target.

Which way head_x, head_y and neck_z turned in the renders of the published weights was not to be read from what was published.
"""

import torch
from torch import Tensor

MOST_DEG = 15.0
"""What 1 means, and the furthest that heads are turned."""
DEFAULT_EXPRESSION = (0.0, 0.0, 1.0)
"""Of the drawings that the published networks take: eyes and mouth open."""

# Ratios, see `expression`. By dlib's landmarks of 430 frames of VoxCeleb2 at 256 px, the median of eyes is 0.28, one in ten has
# less than 0.16, and one mouth in twenty more than 0.52.
_CLOSED_EYE, _OPEN_EYE = 0.15, 0.25
_OPEN_MOUTH = 0.5
_RIGHT_EYE, _LEFT_EYE = 36, 42  # the first of six landmarks: corner, two above, corner, two below
_MOUTH_LEFT, _MOUTH_RIGHT, _UPPER_LIP, _LOWER_LIP = 60, 64, 62, 66  # of the inner contour


def rotation(pose_deg: Tensor) -> Tensor:
    """[B,3], pitch, yaw and roll from sources to targets, 1 for 15 degrees, of poses [B,2,3], yaw, pitch, roll in degrees.

    Differences of angles: for a source within 3 degrees of frontal that is the rotation between the two but for 1.5 degrees at
    most, which is less than landmarks tell.
    """
    return (pose_deg[:, 1] - pose_deg[:, 0])[:, [1, 0, 2]] / MOST_DEG


def expression(landmarks_px: Tensor) -> Tensor:
    """[...,3], left eye, right eye and mouth, each in [0, 1], of landmarks [...,68,2]; NaN where those are.

    Of an eye its aspect ratio (Soukupova and Cech 2016), of the mouth the height of its opening by its width.
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
