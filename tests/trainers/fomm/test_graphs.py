"""The graphs before export: agreement with the networks for each row and setting."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from conformance import image
from fomm_graphs import CONFIG, keypoints, networks, rows
from fomm_inputs import rng, small
from torch import Tensor

from motionshards.trainers.fomm.export import LIMITS, Difference, differences
from motionshards.trainers.fomm.exported.model import GRAPHS
from motionshards.trainers.fomm.graphs import Graph, graphs
from motionshards.trainers.fomm.keypoints import Keypoints

pytestmark = pytest.mark.slow


def test_a_model_without_jacobians_has_unit_matrices_that_change_nothing() -> None:
    detector, generator = networks(small(jacobians=False))
    by_name, images = graphs(detector, generator), image("zeroth", 3, 3, 64, 8).float()
    with torch.no_grad():
        value, jacobian = by_name["kp_detector"](images)
        assert torch.equal(jacobian, torch.eye(2).expand(3, 3, 2, 2))
        switches = torch.tensor(True), torch.tensor(False)
        pairs = (value[1:], jacobian[1:]), (value[1:2], jacobian[1:2]), (value[:1], jacobian[:1])
        moved, turned, _ = by_name["process_kp_driving"](*pairs[0], *pairs[1], *pairs[2], *switches)
        assert torch.equal(turned, jacobian[1:])
        (found,) = by_name["generator"](images[:1], *pairs[2], moved, turned)
        source, driving = (Keypoints(value=points, jacobian=None) for points in (value[:1], moved))
        for number in range(2):
            expected = generator(images[:1], source_keypoints=source, driving_keypoints=driving[number : number + 1])
            torch.testing.assert_close(found[number : number + 1], expected.prediction, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("distort", "least", "most"),
    [
        (lambda image: image + 0.01, 0.0099, 0.0101),
        (lambda image: image * torch.nan, torch.inf, torch.inf),
        (lambda image: image[:1], 0.0, torch.inf),
        (lambda image: image.flip(0), 0.01, torch.inf),
    ],
    ids=["shifted", "no number", "rows lost", "rows mixed up"],
)
def test_a_graph_that_differs_is_detected(distort: Callable[[Tensor], Tensor], least: float, most: float) -> None:
    eager = graphs(*networks(CONFIG.architecture))
    written = {**eager, "generator": lambda *inputs: (distort(eager["generator"](*inputs)[0]),)}
    with torch.no_grad():
        found = differences(eager, written, CONFIG.architecture)
    assert found["kp_detector"] == found["process_kp_driving"] == Difference(0, 0, 0)
    assert least <= found["generator"].largest_difference <= most
    assert found["generator"].relative_difference > LIMITS["fp32"]


@pytest.mark.parametrize("name", GRAPHS)
def test_rows_of_a_batch_are_independent(name: str) -> None:
    """In training mode they would depend on each other."""
    detector, generator = networks(CONFIG.architecture)
    graph: Graph = graphs(detector.train(), generator.train())[name]
    inputs = {
        "kp_detector": (image("rows", 3, 3, 64, 8).float(),),
        "process_kp_driving": (*rows(keypoints(3, 1), keypoints(1, 2), keypoints(1, 3)), torch.tensor(True), torch.tensor(True)),
        "generator": (image("rows", 1, 3, 64, 8).float(), *rows(keypoints(1, 3), keypoints(3, 1))),
    }[name]
    alone = [tensor[:1] if key in graph.batched else tensor for key, tensor in zip(graph.inputs, inputs, strict=True)]
    with torch.no_grad():
        for together, single in zip(graph(*inputs), graph(*alone), strict=True):
            torch.testing.assert_close(together[:1], single, rtol=1e-5, atol=1e-6)


def test_graphs_depend_on_the_settings() -> None:
    """The single map of Jacobians and align_corners are part of the graphs."""
    architecture = small(align_corners=False, detector=replace(small().detector, single_jacobian_map=True))
    changed, images = graphs(*networks(architecture)), torch.rand(3, 3, 64, 64, generator=rng())
    usual = graphs(*networks(CONFIG.architecture))
    with torch.no_grad():
        assert changed["kp_detector"](images)[1].shape == (3, 3, 2, 2)
        inputs = (images[:1], *rows(keypoints(1, 0), keypoints(2, 7)))
        assert (changed["generator"](*inputs)[0] - usual["generator"](*inputs)[0]).abs().max() > 1e-3
