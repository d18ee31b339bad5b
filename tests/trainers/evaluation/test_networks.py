"""Metrics that need users' networks and programs: CSIM, LPIPS and action units."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from openface_program import intensities, is_lost
from skimage import data

from motionshards.schemas.errors import ConfigError
from motionshards.trainers import vgg
from motionshards.trainers.evaluation.action_units import ActionUnitMeasure, _jpeg
from motionshards.trainers.evaluation.arcface import TEMPLATE_PX, ArcFace, aligned
from motionshards.trainers.evaluation.lpips import LpipsMeasure
from motionshards.trainers.evaluation.measures import FaceMeasure, Frames
from motionshards.transforms.extract.action_units.openface import OpenFace
from motionshards.transforms.extract.landmarks import models


def template_points(shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    """68 landmarks whose eyes, nose and corners of the mouth are those of the template."""
    points = np.zeros((68, 2), np.float32)
    right, left, nose, *mouth = TEMPLATE_PX + shift
    points[36:42], points[42:48], points[30], points[[48, 54]] = right, left, nose, mouth
    return points


def mean_color(path: Path, side: int = 112) -> Path:
    """An ONNX network whose embedding is the mean color."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shapes = [helper.make_tensor_value_info(*each) for each in (("x", kind, [1, 3, side, side]), ("y", kind, [1, 3]))]
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["mean"]), helper.make_node("Flatten", ["mean"], ["y"])]
    graph = helper.make_graph(nodes, "mean", shapes[:1], shapes[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_faces_are_aligned_to_the_template() -> None:
    face = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    np.testing.assert_allclose(aligned(face, template_points()), face, atol=0.01)
    larger = np.pad(face, ((20, 0), (30, 0), (0, 0)))
    np.testing.assert_allclose(aligned(larger, template_points((30, 20))), face, atol=0.1)


def test_csim_is_the_cosine_of_the_embeddings(tmp_path: Path) -> None:
    network = ArcFace(mean_color(tmp_path / "net.onnx"))
    face = np.full((1, 112, 112, 3), (255, 255, 0), np.uint8)
    np.testing.assert_allclose(network.embeddings(face, template_points()[None]), [[1, 1, -1]], atol=1e-3)
    dlib = models.load("dlib")
    assert dlib is not None
    measure = FaceMeasure(dlib, identity=False, arcface=network)
    pixels = np.stack([data.astronaut()[:256, 96:352], np.full((256, 256, 3), 128, np.uint8)])
    swapped = np.ascontiguousarray(pixels[..., ::-1])
    real, generated = (measure.features(Frames(each / np.float32(255), each)) for each in (pixels, swapped))
    one, other = real["embedding"][0].astype(float), generated["embedding"][0].astype(float)
    expected = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert expected < 0.99
    assert measure.compare(real, generated)["csim"].tolist() == pytest.approx([expected, np.nan], nan_ok=True)
    assert measure.compare(real, real)["csim"].tolist() == pytest.approx([1, np.nan], nan_ok=True)


@pytest.mark.parametrize("what", ["absent", "garbage", "another size"])
def test_wrong_arcface_files_are_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "net.onnx"
    if what == "garbage":
        path.write_bytes(b"garbage")
    if what == "another size":
        mean_color(path, side=64)
    with pytest.raises(ConfigError, match=r"net\.onnx"):
        ArcFace(path)


def test_lpips_is_that_of_torchmetrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its linear layers, and random weights of VGG16 instead of torchvision's."""
    reference = pytest.importorskip("torchmetrics.functional.image.lpips")
    torch.manual_seed(0)
    network = vgg.Vgg(vgg.VGG16, (29,))
    torch.save(network.state_dict(), tmp_path / "vgg16.pth")
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda *_, **__: network.features)
    linear = Path(reference.__file__).parent / "lpips_models" / "vgg.pth"
    values = np.random.default_rng(0).random((2, 2, 32, 32, 3)).astype(np.float32)
    found = LpipsMeasure(linear, str(tmp_path / "vgg16.pth")).compare({"values": values[0]}, {"values": values[1]})["lpips"]
    pairs = [torch.from_numpy(each).permute(0, 3, 1, 2) for each in values]
    with torch.no_grad():
        expected = reference._LPIPS(net="vgg", pnet_rand=True)(*pairs, normalize=True).flatten()
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4)
    with pytest.raises(ConfigError, match="does not contain the linear layers of LPIPS"):
        LpipsMeasure(tmp_path / "vgg16.pth", str(tmp_path / "vgg16.pth"))


def test_the_error_of_action_units_is_over_frames_where_both_are_valid(openface: Callable[..., list[str]]) -> None:
    measure = ActionUnitMeasure(OpenFace(tuple(openface(lost_every=4)), still=True))
    real, generated = np.random.default_rng(1).integers(0, 256, (2, 6, 32, 32, 3), np.uint8)
    every = np.concatenate([real, generated])
    found = measure.features(Frames(every / np.float32(255), every))
    error = measure.compare({"intensity": found["intensity"][:6]}, {"intensity": found["intensity"][6:]})["au_error"]
    for number, value in enumerate(error):
        jpegs = [_jpeg(each[number]) for each in (real, generated)]
        expected = np.abs(np.subtract(*map(intensities, jpegs))).mean()
        assert np.isnan(value) if any(is_lost(jpeg, 4) for jpeg in jpegs) else value == pytest.approx(expected, abs=1e-5)
    assert 0 < np.isnan(error).sum() < 6
