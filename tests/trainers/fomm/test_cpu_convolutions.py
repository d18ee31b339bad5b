"""Convolutions for CPUs compute what `nn.Conv2d` does."""

import pytest
import torch
from conformance import fill
from fomm_inputs import noise
from torch import nn

from motionshards.trainers.fomm.cpu_convolutions import PackedConv2d, WinogradConv2d

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of PyTorch has no oneDNN")


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 10), (16, 7), (90, 45), (8, 1030)])
@torch.no_grad()
def test_winograd_is_exact_in_float64(size: tuple[int, int]) -> None:
    convolution, x = fill(nn.Conv2d(5, 6, 3, padding=1), "winograd").double(), noise(2, 5, *size) - 0.5
    torch.testing.assert_close(WinogradConv2d(convolution)(x), convolution(x), rtol=0, atol=1e-12)


@torch.no_grad()
def test_rounding_errors_of_winograd_are_bounded() -> None:
    """The usual interpolation points (0, ±1, ±2) exceed this bound."""
    convolution, x = fill(nn.Conv2d(256, 256, 3, padding=1), "winograd"), noise(1, 256, 32, 32).float() - 0.5
    expected = convolution.double()(x.double())
    found = WinogradConv2d(convolution.float())(x)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 3e-5 * expected.std()


@torch.no_grad()
def test_winograd_keeps_channels_last() -> None:
    x = noise(2, 5, 8, 8).contiguous(memory_format=torch.channels_last)
    assert WinogradConv2d(nn.Conv2d(5, 6, 3, padding=1).double())(x).is_contiguous(memory_format=torch.channels_last)


@needs_onednn
@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(64, 32, 3, padding=1),
        nn.Conv2d(3, 16, (1, 7), padding=(0, 3), bias=False),
        nn.Conv2d(32, 64, 1, groups=4),
        nn.Conv2d(16, 16, 3, stride=2, dilation=2),
    ],
    ids=["3x3", "row", "groups", "stride"],
)
@torch.no_grad()
def test_packed_weights_follow_the_shape_of_the_input(convolution: nn.Conv2d) -> None:
    fill(convolution, "packed")
    before = convolution.weight.clone()
    packed = PackedConv2d(convolution)
    for batch, size in ((1, 8), (3, 32), (1, 8), (1, 5)):
        x = noise(batch, convolution.in_channels, size, size).float().contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(packed(x), convolution(x), rtol=0, atol=1e-5)
    assert torch.equal(convolution.weight, before)
