"""Faster networks for inference, which compute the same as the trained ones up to rounding.

- Batch norms after convolutions are folded into the convolutions' weights. The first norm of a residual block is kept, since it
  precedes a ReLU and follows no convolution.
- A 3x3 convolution after nearest-neighbor upsampling multiplies each pixel by several weights, which can be summed in advance.
  This leaves four 2x2 convolutions, one for each phase of the output, together a transposed 4x4 convolution of stride 2, with 4/9
  of the multiplications.
- A 7x7 convolution to 3 channels or 1 leaves most of a vector register empty. The rows of its kernel are therefore computed as a
  1x7 convolution to 7 times the channels, whose outputs are shifted and summed.
- On a CPU, the convolutions of `trainers.fomm.cpu_convolutions` replace `nn.Conv2d`.
- Features of the source are computed once.
"""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from motionshards.trainers.fomm.blocks import DownBlock, ResBlock, SameBlock, UpBlock
from motionshards.trainers.fomm.cpu_convolutions import PackedConv2d, WinogradConv2d
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import Keypoints, KPDetector
from motionshards.trainers.fomm.normalize import normalize_keypoints

N = TypeVar("N", bound=nn.Module)

# Product of input and output channels above which upsampling is not fused. These are inner blocks of an hourglass with few
# pixels, where loading the weights dominates, and fused kernels would have 16 weights instead of 9.
_MANY = 1 << 17
# Channels from which Winograd's convolution is faster: products grow with their square, transforms linearly.
_WIDE = 192
# [4,3]: the rows of a 3x3 kernel that apply to the same pixel before upsampling, for each row of the 4x4 kernel.
_DOUBLED = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))


class FoldedNetworks:
    """Detector and generator for animation, see `trainers.fomm.animate.Networks`. Caches the features of the last source.

    The given networks are not changed.
    """

    def __init__(self, detector: KPDetector, generator: OcclusionAwareGenerator, device: torch.device | str = "cpu") -> None:
        self._detector, self._generator = folded(detector, device), folded(generator, device)
        self._source: Tensor | None = None
        self._features: Tensor | None = None

    @torch.inference_mode()
    def kp_detector(self, frames: Tensor) -> Keypoints:
        """See Networks."""
        found: Keypoints = self._detector(_channels_last(frames))
        return found

    @torch.inference_mode()
    def process_kp_driving(self, driving: Keypoints, first: Keypoints, source: Keypoints, *, adapt_scale: bool) -> Keypoints:
        """See Networks."""
        return normalize_keypoints(source, driving, first, adapt_scale=adapt_scale)

    @torch.inference_mode()
    def generator(self, source: Tensor, source_keypoints: Keypoints, driving_keypoints: Keypoints) -> Tensor:
        """See Networks."""
        if self._source is not source or self._features is None:
            self._source, self._features = source, self._generator.encode(_channels_last(source))
        count = len(driving_keypoints)
        motion = self._generator.dense_motion_network(
            source.expand(count, -1, -1, -1),
            source_keypoints=_repeated(source_keypoints, count),
            driving_keypoints=driving_keypoints,
        )
        return self._generator.decode(self._features.expand(count, -1, -1, -1), motion)


def folded(network: N, device: torch.device | str = "cpu") -> N:
    """Return a copy of a detector or generator for inference on `device`, with its dtype and convolutions in channels_last."""
    dtype = next(network.parameters()).dtype
    result = copy.deepcopy(network).eval().requires_grad_(False).double()  # sums of weights are rounded only once
    _replace(result, _replacement)
    if isinstance(result, OcclusionAwareGenerator):
        result.register_module("final", RowsConv2d(result.final))
        if (occlusion := result.dense_motion_network.occlusion) is not None:
            result.dense_motion_network.register_module("occlusion", RowsConv2d(occlusion))
    result = result.to(dtype).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if torch.device(device).type == "cpu":
        _replace(result, _with_winograd)
        if dtype == torch.float32 and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            _replace(result, _packed)
    return result


class RowsConv2d(nn.Module):
    """A convolution to few channels, [B,C,H,W] to [B,out,H,W], computed by rows of its kernel, see the module's docstring."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.outside, inside, self.height, width = convolution.weight.shape
        rows = convolution.weight.permute(2, 0, 1, 3).reshape(-1, inside, 1, width)
        self.rows = nn.Conv2d(inside, len(rows), (1, width), padding=(self.height // 2, width // 2), bias=False)
        self.rows.weight = nn.Parameter(rows, requires_grad=False)
        self.bias = convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        rows = self.rows(x).unflatten(1, (self.height, self.outside))
        bias = 0 if self.bias is None else self.bias[:, None, None]
        shifted = [rows[:, number, :, number : number + x.shape[2]] for number in range(self.height)]
        return torch.stack(shifted).sum(dim=0) + bias


class FoldedResBlock(nn.Module):
    """A `ResBlock` whose second norm is folded into its first convolution."""

    def __init__(self, block: ResBlock) -> None:
        super().__init__()
        first = fuse_conv_bn_eval(block.conv1, block.norm2)
        self.inner = nn.Sequential(block.norm1, nn.ReLU(inplace=True), first, nn.ReLU(inplace=True), block.conv2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(x)
        return result.add_(x)


def _replace(network: nn.Module, replacement: Callable[[nn.Module], nn.Module]) -> None:
    """Replace every module inside a network."""
    for parent in [*network.modules()]:
        for name, child in [*parent.named_children()]:
            setattr(parent, name, replacement(child))


def _with_winograd(module: nn.Module) -> nn.Module:
    if isinstance(module, FoldedResBlock):
        for place, convolution in enumerate(module.inner):
            if isinstance(convolution, nn.Conv2d) and convolution.in_channels >= _WIDE:
                module.inner[place] = WinogradConv2d(convolution)
    return module


def _packed(module: nn.Module) -> nn.Module:
    return PackedConv2d(module) if isinstance(module, nn.Conv2d) else module


def _replacement(module: nn.Module) -> nn.Module:
    if isinstance(module, ResBlock):
        return FoldedResBlock(module)
    if not isinstance(module, SameBlock):
        return module
    convolution = fuse_conv_bn_eval(module.conv, module.norm)
    if isinstance(module, UpBlock):
        few = convolution.in_channels * convolution.out_channels <= _MANY
        doubled = [fused_upsampling(convolution)] if few else [nn.UpsamplingNearest2d(scale_factor=2), convolution]
        return nn.Sequential(*doubled, nn.ReLU(inplace=True))
    after = [nn.AvgPool2d(2)] if isinstance(module, DownBlock) else []
    return nn.Sequential(convolution, nn.ReLU(inplace=True), *after)


def fused_upsampling(convolution: nn.Conv2d) -> nn.ConvTranspose2d:
    """Fuse nearest-neighbor upsampling of [B,C,H,W] and a 3x3 convolution of padding 1: [B,out,2H,2W]."""
    assert convolution.kernel_size == (3, 3) and convolution.padding == (1, 1) and convolution.bias is not None
    summed = torch.tensor(_DOUBLED, dtype=convolution.weight.dtype, device=convolution.weight.device)
    result = nn.ConvTranspose2d(convolution.in_channels, convolution.out_channels, 4, stride=2, padding=1)
    result.weight = nn.Parameter(torch.einsum("ik,jl,ockl->coij", summed, summed, convolution.weight), requires_grad=False)
    result.bias = convolution.bias
    return result


def _channels_last(frames: Tensor) -> Tensor:
    return frames.contiguous(memory_format=torch.channels_last)


def _repeated(keypoints: Keypoints, count: int) -> Keypoints:
    """Expand the keypoints of one image to `count` images."""
    jacobian = keypoints.jacobian
    return Keypoints(
        value=keypoints.value.expand(count, -1, -1),
        jacobian=None if jacobian is None else jacobian.expand(count, -1, -1, -1),
    )
