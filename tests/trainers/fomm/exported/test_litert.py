"""LiteRT graphs agree with the networks for any number of rows and each precision; skipped without the extra."""

from collections.abc import Mapping
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import image
from fomm_graphs import CONFIG, keypoints, networks, rows
from fomm_inputs import small
from torch import Tensor, nn

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.fomm import export as module
from motionshards.trainers.fomm.animate import Animator, Movement
from motionshards.trainers.fomm.config import Config
from motionshards.trainers.fomm.export import export
from motionshards.trainers.fomm.export_litert import write_litert
from motionshards.trainers.fomm.exported.litert import BATCHES, LiteRTGraph
from motionshards.trainers.fomm.exported.model import GRAPHS
from motionshards.trainers.fomm.exported.networks import ExportedNetworks
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.graphs import graphs

needs_litert = pytest.mark.skipif(util.find_spec("litert_torch") is None, reason="the extra litert is not installed")


@needs_litert
def test_keypoint_processing_for_one_seven_and_other_numbers_of_frames(tmp_path: Path) -> None:
    """Includes hulls; 9 rows are processed as 7, 1 and 1, and `flat` is a single value."""
    graph = graphs(*networks(CONFIG.architecture))["process_kp_driving"]
    fixed, switches = rows(keypoints(1, 3), keypoints(1, 5)), (torch.tensor(True), torch.tensor(True))
    samples = {count: (*rows(keypoints(count, 9)), *fixed, *switches) for count in (*BATCHES, 9)}
    path = tmp_path / "graph.tflite"
    write_litert(graph.module, {count: samples[count] for count in BATCHES}, path, "fp32")
    written = LiteRTGraph(path)
    for inputs in samples.values():
        for found, expected in zip(written(*inputs), graph(*inputs), strict=True):
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"args_2 is \[7, 3, 2\], must be \[1, 3, 2\]"):
        written(*rows(keypoints(7, 9), keypoints(7, 9), keypoints(1, 5)), *switches)
    with pytest.raises(ValueError, match="inputs have 1 and 7 rows"):
        written(samples[7][0], samples[1][1], *fixed, *switches)
    with pytest.raises(ValueError, match="must be"):
        written(*(each[:0] for each in samples[1][:2]), *fixed, *switches)


@needs_litert
@pytest.mark.slow
def test_a_detector_without_jacobians(tmp_path: Path) -> None:
    graph, images = graphs(*networks(small(jacobians=False)))["kp_detector"], image("litert", 9, 3, 64, 8).float()
    write_litert(graph.module, {count: (images[:count],) for count in BATCHES}, tmp_path / "graph.tflite", "fp32")
    with torch.no_grad():
        for found, expected in zip(LiteRTGraph(tmp_path / "graph.tflite")(images), graph(images), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@needs_litert
@pytest.mark.slow
def test_animations_with_litert_and_torch_are_equal(tmp_path: Path) -> None:
    export(*networks(CONFIG.architecture), CONFIG, tmp_path, "litert")
    images = np.rint(255 * image("animation", 9, 3, 64, 8).permute(0, 2, 3, 1).numpy()).astype(np.uint8)
    for movement in (Movement(adapt_scale=True), Movement(relative=False)):
        both = [
            np.stack([*Animator(backend, images[0], movement).animate(images[1:], batch=8)]).astype(int)
            for backend in (FoldedNetworks(*networks(CONFIG.architecture)), ExportedNetworks(tmp_path, "litert"))
        ]
        assert both[0].shape == (8, 64, 64, 3) and np.ptp(both[0]) > 50
        assert np.abs(both[0] - both[1]).max() <= 1


@needs_litert
@pytest.mark.slow
@pytest.mark.parametrize(("precision", "most_mb"), [("fp32", 260), ("fp16", 130), ("int8", 100)])
def test_vox_256_in_every_precision(tmp_path: Path, precision: str, most_mb: float) -> None:
    """At full size signatures share weights, and some weights are too large for the quantizer."""
    config = Config()
    checks = export(*networks(config.architecture), config, tmp_path, "litert", precision)
    assert all(check.accepted for check in checks.values())
    assert sum((tmp_path / f"{name}.tflite").stat().st_size for name in GRAPHS) <= most_mb * 1e6


def reverse_weights(path: Path) -> None:
    """Reverse the largest 8-bit weights in a file."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    int8 = flatbuffer_utils.schema_fb.TensorType.INT8
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors if tensor.type == int8]
    contents = [model.buffers[tensor.buffer] for tensor in tensors if model.buffers[tensor.buffer].data is not None]
    largest = max(contents, key=lambda each: len(each.data))
    largest.data = largest.data[::-1].copy()
    flatbuffer_utils.write_model(model, str(path))


@needs_litert
@pytest.mark.slow
@pytest.mark.parametrize("damaged", [None, "kp_detector", "generator"])
def test_an_export_with_damaged_int8_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str | None
) -> None:
    def write(graph: nn.Module, inputs: Mapping[int, tuple[Tensor, ...]], path: Path, precision: str) -> None:
        write_litert(graph, inputs, path, precision)
        if damaged is not None and damaged in path.name:
            reverse_weights(path)

    monkeypatch.setattr(module, "write_litert", write)
    checks = export(*networks(CONFIG.architecture), CONFIG, tmp_path, "litert", "int8")
    assert [name for name, check in checks.items() if not check.accepted] == ([] if damaged is None else [damaged])
    assert (tmp_path / "export.json").exists() == (damaged is None)
    assert {name: check.relative_limit for name, check in checks.items()} == {
        "kp_detector": 0.15,
        "process_kp_driving": 1e-3,
        "generator": 0.15,
    }


def test_unusable_litert_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(b"no graph")
    with pytest.raises(
        ConfigError, match=r"a\.tflite cannot be loaded|ai-edge-litert cannot be imported .*motionshards\[litert\]"
    ) as message:
        LiteRTGraph(tmp_path / "a.tflite")
    assert "\n" not in str(message.value)
    with pytest.raises(ConfigError, match="LiteRT cannot run on 'cuda' here: use cpu"):
        LiteRTGraph(tmp_path / "a.tflite", "cuda")
