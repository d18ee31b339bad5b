"""Folded networks compute the same as the trained ones, in float64 to exclude rounding."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from conformance import fill
from fomm_inputs import noise, small
from torch import Tensor, nn

from motionshards.trainers.fomm.architecture import Architecture
from motionshards.trainers.fomm.blocks import DownBlock, ResBlock, SameBlock, UpBlock
from motionshards.trainers.fomm.cpu_convolutions import PackedConv2d, WinogradConv2d
from motionshards.trainers.fomm.fold import FoldedNetworks, FoldedResBlock, RowsConv2d, folded, fused_upsampling
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import Keypoints, KPDetector

SHAPES = {
    "small": small(),
    "zeroth order": small(jacobians=False),
    "no occlusion": small(generator=replace(small().generator, occlusion=False, down_blocks=1, bottleneck_blocks=2)),
    "wide": small(generator=replace(small().generator, block_expansion=48, max_features=192)),
    "one map, full scale": small(detector=replace(small().detector, single_jacobian_map=True, scale=1.0)),
}


def networks(architecture: Architecture) -> tuple[KPDetector, OcclusionAwareGenerator]:
    """Random weights and norm statistics."""
    created = KPDetector(architecture), OcclusionAwareGenerator(architecture)
    for network in created:
        fill(network, "fold").double().eval()
    return created


def plain(detector: KPDetector, generator: OcclusionAwareGenerator, source: Tensor, driving: Tensor) -> Tensor:
    """Animate image by image with the networks as trained."""
    found = [detector(frame[None]) for frame in driving]
    return torch.cat([generator(source, source_keypoints=detector(source), driving_keypoints=each).prediction for each in found])


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_folded_networks_compute_the_same(shape: str) -> None:
    detector, generator = networks(SHAPES[shape])
    source, driving = noise(1, 3, 64, 64, seed=1), noise(3, 3, 64, 64, seed=2)
    folded_networks = FoldedNetworks(detector, generator)
    source_keypoints, found = folded_networks.kp_detector(source), folded_networks.kp_detector(driving)
    with torch.no_grad():
        expected = detector(driving)
        assert_same(found.value, expected.value)
        if expected.jacobian is None:
            assert found.jacobian is None
        else:
            assert_same(found.jacobian, expected.jacobian)
        assert_same(folded_networks.generator(source, source_keypoints, found), plain(detector, generator, source, driving))


def test_each_source_has_its_own_features() -> None:
    detector, generator = networks(small())
    folded_networks, driving = FoldedNetworks(detector, generator), noise(1, 3, 64, 64)
    first, second = noise(1, 3, 64, 64, seed=1), noise(1, 3, 64, 64, seed=2)
    with torch.no_grad():
        for source in (first, second, first):
            image = folded_networks.generator(source, folded_networks.kp_detector(source), folded_networks.kp_detector(driving))
            assert_same(image, plain(detector, generator, source, driving))


def test_features_of_a_source_are_computed_once() -> None:
    folded_networks, source = FoldedNetworks(*networks(small())), noise(1, 3, 64, 64)
    outputs: list[Tensor] = []
    folded_networks._generator.first.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    keypoints = folded_networks.kp_detector(source)
    for _ in range(3):
        folded_networks.generator(source, keypoints, keypoints)
    assert len(outputs) == 1


def test_the_given_networks_are_not_changed() -> None:
    detector, generator = networks(small())
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    generator.train()
    FoldedNetworks(detector, generator)
    assert generator.training and list(before) == list(generator.state_dict())
    assert all(torch.equal(before[name], tensor) for name, tensor in generator.state_dict().items())
    assert all(parameter.requires_grad for parameter in generator.parameters())


def test_only_the_first_norm_of_residual_blocks_is_kept() -> None:
    detector, generator = networks(small())
    assert not [module for module in folded(detector).modules() if isinstance(module, nn.BatchNorm2d)]
    blocks = [module for module in folded(generator).modules() if isinstance(module, FoldedResBlock)]
    norms = [module for module in folded(generator).modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == len(blocks) == 1


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of PyTorch has no oneDNN")
def test_convolutions_for_cpus_are_only_on_cpus() -> None:
    _, generator = networks(SHAPES["wide"])
    counts = {
        (dtype, device): [
            sum(isinstance(module, kind) for module in folded(generator.to(dtype), device).modules())
            for kind in (WinogradConv2d, PackedConv2d, nn.Conv2d)
        ]
        for dtype, device in ((torch.float32, "meta"), (torch.float32, "cpu"), (torch.float64, "cpu"))
    }
    convolutions = counts[torch.float32, "meta"][2]
    assert counts == {
        (torch.float32, "meta"): [0, 0, convolutions],
        (torch.float32, "cpu"): [2, convolutions, 0],
        (torch.float64, "cpu"): [2, 0, convolutions],
    }


@pytest.mark.parametrize("block", [SameBlock(5, 6, 7), DownBlock(5, 6), UpBlock(5, 6), UpBlock(512, 512), ResBlock(5)])
def test_each_block(block: nn.Module) -> None:
    trained = fill(nn.Sequential(block), "fold").double().eval()
    folded_block = folded(trained)
    inside = 512 if isinstance(block, UpBlock) and block.conv.in_channels == 512 else 5
    x = noise(2, inside, 6, 10) - 0.5
    with torch.no_grad():
        assert_same(folded_block(x.clone()), trained(x))
    doubled_apart = [module for module in folded_block.modules() if isinstance(module, nn.UpsamplingNearest2d)]
    assert bool(doubled_apart) == (inside == 512), "many channels: 9 weights a pair, not 16"


def test_a_block_does_not_change_its_input() -> None:
    """Some operations are in place, and must not overwrite the input."""
    x = noise(2, 5, 8, 8) - 0.5
    for block in (SameBlock(5, 6), UpBlock(5, 6), DownBlock(5, 6), ResBlock(5)):
        given = x.clone()
        with torch.no_grad():
            folded(nn.Sequential(block).double())(given)
        assert torch.equal(given, x), type(block)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (8, 8)])
def test_upsampling_and_convolution_are_fused(size: tuple[int, int]) -> None:
    convolution, x = nn.Conv2d(4, 3, 3, padding=1).double(), noise(2, 4, *size)
    with torch.no_grad():
        assert_same(fused_upsampling(convolution)(x), convolution(F.interpolate(x, scale_factor=2)))


@pytest.mark.parametrize(("outside", "kernel", "bias"), [(3, 7, True), (1, 7, True), (2, 3, False), (4, 5, True)])
def test_a_convolution_by_rows(outside: int, kernel: int, bias: bool) -> None:
    convolution, x = nn.Conv2d(6, outside, kernel, padding=kernel // 2, bias=bias).double(), noise(2, 6, 9, 11)
    with torch.no_grad():
        assert_same(RowsConv2d(convolution)(x), convolution(x))


def test_float32_is_kept_with_small_errors() -> None:
    detector, generator = (network.float() for network in networks(small()))
    source, driving = noise(1, 3, 64, 64, seed=1).float(), noise(2, 3, 64, 64, seed=2).float()
    folded_networks = FoldedNetworks(detector, generator)
    image = folded_networks.generator(source, folded_networks.kp_detector(source), folded_networks.kp_detector(driving))
    with torch.no_grad():
        expected = plain(detector, generator, source, driving)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, expected, rtol=0, atol=3e-4)


def test_relative_motion_is_that_of_the_paper() -> None:
    """The first frame does not move the source."""
    folded_networks, frames = FoldedNetworks(*networks(small())), noise(2, 3, 64, 64)
    source, first = folded_networks.kp_detector(frames[:1]), folded_networks.kp_detector(frames[1:])
    moved: Keypoints = folded_networks.process_kp_driving(first, first, source, adapt_scale=True)
    assert_same(moved.value, source.value)
    torch.testing.assert_close(moved.jacobian, source.jacobian, rtol=1e-6, atol=1e-6)
