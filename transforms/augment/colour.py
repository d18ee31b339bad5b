"""Colour jitter: brightness, contrast, saturation and hue, in an order of its own for each clip, alike in all its frames.

The four have the meaning of torchvision's `adjust_*` on float pictures. With f the factor and grey = 0.299 R + 0.587 G +
0.114 B (ITU-R BT.601),

    brightness   f * rgb
    contrast     f * rgb + (1 - f) * mean of the frame's grey
    saturation   f * rgb + (1 - f) * grey
    hue          the hue of HSV is turned by f, in turns: 0.5 is the complement

each cut to [0, 1]. The first three are one formula with three coefficients, so clips that are at different operations
go through it together. Hue is the dear one: it is computed once for each clip, when its turn comes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""The operations, as `jitter` numbers them."""

_LUMA = (0.299, 0.587, 0.114)
_LEAST = 1e-30  # stands for the chroma of grey, which is 0 and is divided by


def jitter(frames: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Float [B,n,3,H,W] in [0, 1] with the colours of each clip changed; float32 inside, the dtype of `frames` outside.

    `factors`: float [B,4], of brightness, contrast, saturation (1 changes nothing) and hue (0 changes nothing).
    `order`: int64 [B,4], each row a permutation of the four, first what is done first.

    `factors` and `order` are looked at on the host: a GPU waits for its queue if they lie there.

    Raises:
        ValueError: a row of `order` is no permutation
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
    """float32 [B,n,3,H,W] in [0, 1], the hue of clip i turned by `turns[i]`, float32 [B].

    In HSV with the hue h in sixths of a turn, a colour is low + chroma * pure(h), where low is the least of its channels and
    chroma the distance to the greatest (A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978). Grey has no hue and stays.
    """
    red, green, blue = frames.unbind(2)
    low = torch.minimum(torch.minimum(red, green), blue).unsqueeze(2)
    chroma = torch.maximum(torch.maximum(red, green), blue).unsqueeze(2) - low
    hue = _hue((frames - low) / chroma.clamp(min=_LEAST)) + 6 * turns.view(-1, 1, 1, 1)
    hue = hue - 6 * (hue / 6).floor()
    pure = torch.stack([(hue - 3).abs() - 1, 2 - (hue - 2).abs(), 2 - (hue - 4).abs()], dim=2).clamp_(0, 1)
    return torch.addcmul(low, chroma, pure)


def _hue(pure: Tensor) -> Tensor:
    """[B,n,H,W] in sixths of a turn, red 0, -1 to 5, of colours [B,n,3,H,W] whose least channel is 0 and greatest exactly 1.

    By `floor` and `lerp`, as `where` takes a processor ten times as long. Where two channels are 1, both ways agree.
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
    """One of the first three operations on each clip: `keep` * rgb + `own` * grey + `mean` * (mean of grey)."""
    rows = [_coefficients(operation, row[operation]) for operation, row in zip(operations, factors, strict=True)]
    if all(row == (1, 0, 0) for row in rows):
        return frames
    keep, own, mean = torch.tensor(rows, device=frames.device).view(-1, 3, 1, 1, 1, 1).unbind(1)
    if all(row[1:] == (0, 0) for row in rows):
        return (frames * keep).clamp_(0, 1)
    red, green, blue = (frames[:, :, channel, None] for channel in range(3))
    grey = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    # in two steps: a processor would split one sum over a whole frame among its cores in ways that depend on the batch
    level = grey.mean(-1, keepdim=True).mean(-2, keepdim=True)
    return torch.addcmul(torch.addcmul(mean * level, own, grey), keep, frames).clamp_(0, 1)


def _coefficients(operation: int, factor: float) -> tuple[float, float, float]:
    if operation == BRIGHTNESS:
        return factor, 0, 0
    return (factor, 0, 1 - factor) if operation == CONTRAST else (factor, 1 - factor, 0)
