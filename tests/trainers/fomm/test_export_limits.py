"""Limits of accepted exports: errors relative to the contrast of the output, for each precision."""

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from fomm_graphs import CONFIG, networks
from fomm_inputs import rng
from torch import Tensor, nn

from motionshards.trainers.fomm.export import LIMITS, Difference, differences
from motionshards.trainers.fomm.graphs import Graph, graphs


@pytest.fixture(scope="module")
def eager() -> Mapping[str, Graph]:
    return graphs(*networks(CONFIG.architecture))


def convolutions(graph: Graph) -> list[nn.Conv2d]:
    return [module for module in graph.module.modules() if isinstance(module, nn.Conv2d) and module.out_channels > 3]


def changed(eager: Mapping[str, Graph], change: Callable[[Tensor], Tensor], middle: bool) -> dict[str, Difference]:
    """Compare with graphs in which the weights of all convolutions, or of the middle one of each graph, are changed."""
    spoilt = copy.deepcopy(dict(eager))
    with torch.no_grad():
        for graph in spoilt.values():
            found = convolutions(graph)
            for each in found[len(found) // 2 :][:1] if middle else found:
                each.weight.copy_(change(each.weight))
        return differences(eager, spoilt, CONFIG.architecture)


def rounded(weight: Tensor) -> Tensor:
    """Round to 8 bits with a scale per channel, as in int8."""
    step = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    return (weight / step).round() * step


def test_weights_of_fewer_bits_are_accepted(eager: Mapping[str, Graph]) -> None:
    for precision, change in (("int8", rounded), ("fp16", lambda weight: weight.half().float())):
        found = changed(eager, change, middle=False)
        assert found["process_kp_driving"].relative_difference == 0
        assert all(0 < found[name].relative_difference < LIMITS[precision] for name in ("kp_detector", "generator"))


@pytest.mark.parametrize(
    ("change", "middle"),
    [
        (torch.zeros_like, True),
        (lambda weight: weight + 0.1 * weight.std() * torch.randn(weight.shape, generator=rng()), False),
    ],
    ids=["a layer of zeros", "noise of a tenth of the weights"],
)
def test_damaged_weights_are_refused(eager: Mapping[str, Graph], change: Callable[[Tensor], Tensor], middle: bool) -> None:
    found = changed(eager, change, middle)
    assert min(found[name].relative_difference for name in ("kp_detector", "generator")) > LIMITS["int8"]


def test_a_mirrored_image_of_low_contrast_is_refused(eager: Mapping[str, Graph]) -> None:
    """Its absolute error, 0.03, is that of correct int8 graphs whose images have more contrast."""
    written = {**eager, "generator": lambda *inputs: (eager["generator"](*inputs)[0].flip(-1),)}
    with torch.no_grad():
        found = differences(eager, written, CONFIG.architecture)["generator"]
    assert found.mean_difference < 0.03 and found.relative_difference == pytest.approx(0.95, abs=0.1)


@pytest.mark.parametrize(
    ("exact", "distort", "expected"),
    [
        (torch.linspace(0, 1, 256), torch.mean, 1),
        (torch.linspace(0, 0.1, 256), lambda image: image + 0.01, 0.01 / (0.1 / 12**0.5)),
        (torch.full((256,), 0.5), lambda image: image + 0.1 / 255, 0.1),
    ],
    ids=["the mean everywhere", "a shift", "no contrast, and a tenth of a level"],
)
def test_the_error_is_divided_by_the_deviation_of_the_output(
    eager: Mapping[str, Graph], exact: Tensor, distort: Callable[[Tensor], Tensor], expected: float
) -> None:
    pair = [{**eager, "generator": lambda *_, image=image: (image,)} for image in (exact, distort(exact).expand(256))]
    with torch.no_grad():
        found = differences(*pair, CONFIG.architecture)["generator"]
    assert found.relative_difference == pytest.approx(expected, rel=0.01)
