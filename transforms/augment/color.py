"""Color jitter: brightness, contrast, saturation and hue in a random order per clip, the same for all its frames.

The four operations are those of torchvision's `adjust_*` on float images. With the factor f and gray = 0.299 R + 0.587 G +
0.114 B (ITU-R BT.601),

    brightness   f * rgb
    contrast     f * rgb + (1 - f) * mean of the frame's gray
    saturation   f * rgb + (1 - f) * gray
    hue          the hue of HSV is rotated by f, in turns: 0.5 is the complement

each clamped to [0, 1]. The first three are one formula with three coefficients, so clips at different operations are
computed together. Hue is expensive: it is computed for each clip only at its place in the order.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Indices of the operations in the arguments of `jitter`."""

_LUMA = (0.299, 0.587, 0.114)
_EPSILON = 1e-30  # avoids a division by the chroma of gray, which is 0


def jitter(frames: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Change the colors of each clip: float [B,n,3,H,W] in [0, 1], of the dtype of `frames`; computed in float32.

    `factors`: float [B,4], of brightness, contrast, saturation (1 is the identity) and hue (0 is the identity).
    `order`: int64 [B,4], each row a permutation of the four operations, in the order they are applied.

    `factors` and `order` are read on the host: pass CPU tensors, or the GPU has to be synchronized.

    Raises:
        ValueError: a row of `order` is not a permutation
    """
    rows, amounts = order.tolist(), factors.tolist()
    if any(sorted(row) != [BRIGHTNESS, CONTRAST, SATURATION, HUE] for row in rows):
        raise ValueError("each row of order must be a permutation of 0, 1, 2, 3")
    places = [row.index(HUE) for row in rows]
    blends = [[operation for operation in row if operation != HUE] for row in rows]
    result = frames.float()
    for place in range(4):
        turned = [clip for clip, at in enumerate(places) if at == place and amounts[clip][HUE] != 0]
        result = _turn_hue_of(result, turned, [amounts[clip][HUE] for clip in turned])
        if place < 3:
            result = _blend_all(result, [row[place] for row in blends], amounts)
    return result.to(frames.dtype)


def turn_hue(frames: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue of clip i by `turns[i]`, float32 [B]: float32 [B,n,3,H,W] in [0, 1].

    In HSV with the hue h in sixths of a turn, a color is low + chroma * pure(h), where low is its smallest channel and chroma
    the distance to the largest (A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978). Gray has no hue and is unchanged.
    """
    red, green, blue = frames.unbind(2)
    low = torch.minimum(torch.minimum(red, green), blue).unsqueeze(2)
    chroma = torch.maximum(torch.maximum(red, green), blue).unsqueeze(2) - low
    hue = _hue((frames - low) / chroma.clamp(min=_EPSILON)) + 6 * turns.view(-1, 1, 1, 1)
    hue = hue - 6 * (hue / 6).floor()
    pure = torch.stack([(hue - 3).abs() - 1, 2 - (hue - 2).abs(), 2 - (hue - 4).abs()], dim=2).clamp_(0, 1)
    return torch.addcmul(low, chroma, pure)


def _hue(pure: Tensor) -> Tensor:
    """Hue [B,n,H,W] in sixths of a turn, red 0, -1 to 5, of colors [B,n,3,H,W] whose channels have minimum 0 and maximum 1.

    Uses `floor` and `lerp`, because `where` takes ten times as long on a CPU. Where two channels are 1, both agree.
    """
    red, green, blue = pure.unbind(2)
    return torch.lerp(torch.lerp(4 + red - green, 2 + blue - red, green.floor()), green - blue, red.floor())


def _turn_hue_of(frames: Tensor, clips: Sequence[int], turns: Sequence[float]) -> Tensor:
    if not clips:
        return frames
    amounts = torch.tensor(turns, device=frames.device)
    if len(clips) == len(frames):
        return turn_hue(frames, amounts)
    index = torch.tensor(clips, device=frames.device)
    return frames.index_copy(0, index, turn_hue(frames[index], amounts))


def _blend_all(frames: Tensor, operations: Sequence[int], factors: Sequence[Sequence[float]]) -> Tensor:
    """Apply one of the first three operations to each clip: `keep` * rgb + `own` * gray + `mean` * (mean of gray)."""
    rows = [_coefficients(operation, row[operation]) for operation, row in zip(operations, factors, strict=True)]
    if all(row == (1, 0, 0) for row in rows):
        return frames
    keep, own, mean = torch.tensor(rows, device=frames.device).view(-1, 3, 1, 1, 1, 1).unbind(1)
    if all(row[1:] == (0, 0) for row in rows):
        return (frames * keep).clamp_(0, 1)
    red, green, blue = (frames[:, :, channel, None] for channel in range(3))
    gray = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    # in two steps: a CPU splits a sum over a whole frame among its cores in a way that depends on the batch
    level = gray.mean(-1, keepdim=True).mean(-2, keepdim=True)
    return torch.addcmul(torch.addcmul(mean * level, own, gray), keep, frames).clamp_(0, 1)


def _coefficients(operation: int, factor: float) -> tuple[float, float, float]:
    if operation == BRIGHTNESS:
        return factor, 0, 0
    return (factor, 0, 1 - factor) if operation == CONTRAST else (factor, 1 - factor, 0)
