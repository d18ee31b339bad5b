"""Mirror images and time reversal of some of the clips of a batch: those that are `chosen`, bool [B].

`chosen` is best left on the host, which looks at it: a GPU would have to wait for its queue.
"""

import torch
from torch import Tensor

MIRROR_68 = (
    *range(16, -1, -1),  # jaw
    *range(26, 16, -1),  # brows
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),  # nose: ridge, foot
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # lips, outside
    *(64, 63, 62, 61, 60, 67, 66, 65),  # lips, inside
)
"""The landmark that each of the 68 becomes in a mirror image; its own inverse."""


def mirror_frames(frames: Tensor, chosen: Tensor) -> Tensor:
    """`frames` [B,n,H,W,3], any dtype, with left and right swapped in the clips `chosen`, bool [B]."""
    return _flipped(frames, -2, chosen)


def mirror_landmarks(landmarks: Tensor, width: int, chosen: Tensor) -> Tensor:
    """`landmarks` [B,n,68,2] in pixels of frames `width` px wide: x becomes width - 1 - x, and left landmarks right ones.

    So that landmark 36 remains the outer corner of the eye which the viewer sees on the left. NaN stays NaN.
    """
    x, y = landmarks[..., list(MIRROR_68), :].unbind(-1)
    return torch.where(_as_column(chosen, landmarks), torch.stack([width - 1 - x, y], dim=-1), landmarks)


def mirror_pose(pose: Tensor, chosen: Tensor) -> Tensor:
    """`pose` [B,n,3]: a mirror image turns (yaw) and tilts (roll) the other way, and looks as far up (pitch) as before."""
    return torch.where(_as_column(chosen, pose), pose * pose.new_tensor([-1.0, 1.0, -1.0]), pose)


def reverse_time(rows: Tensor, chosen: Tensor) -> Tensor:
    """`rows` [B,n,...], any dtype, with the order of the n frames reversed in the clips `chosen`, bool [B]."""
    return _flipped(rows, 1, chosen)


def _flipped(rows: Tensor, dim: int, chosen: Tensor) -> Tensor:
    """Where all clips or none are chosen, the host decides: on a processor `where` costs forty times as much as copying."""
    if not chosen.any():
        return rows
    flipped = rows.flip(dim)
    return flipped if chosen.all() else torch.where(_as_column(chosen, rows), flipped, rows)


def _as_column(chosen: Tensor, like: Tensor) -> Tensor:
    """`chosen` [B] on the device of `like`, shaped to broadcast over its other dimensions."""
    return chosen.to(like.device).view(-1, *[1] * (like.ndim - 1))
