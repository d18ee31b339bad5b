"""Exported graphs agree with the networks for any number of rows, and incomplete exports are refused."""

import ast
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from checkout import ROOT
from conformance import image
from fomm_graphs import CONFIG, keypoints, networks, rows

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.fomm.animate import Animator, Movement
from motionshards.trainers.fomm.config import Config
from motionshards.trainers.fomm.export import FORMATS, Check, export
from motionshards.trainers.fomm.exported.model import EXPORT_JSON, GRAPHS, RUNTIMES, ExportedModel, read_export
from motionshards.trainers.fomm.exported.networks import ExportedNetworks
from motionshards.trainers.fomm.fold import FoldedNetworks
from motionshards.trainers.fomm.graphs import graphs
from motionshards.trainers.fomm.normalize import normalize_keypoints
from motionshards.trainers.onnx_graph import OnnxGraph

pytestmark = pytest.mark.slow  # writing graphs takes a minute; tests/jobs/test_export_model.py writes one set in every run


Written = Callable[[str], tuple[Path, str, dict[str, Check]]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """written(form) -> directory, form, and the checks; exported once."""

    @functools.cache
    def once(form: str) -> tuple[Path, str, dict[str, Check]]:
        if form == "litert":
            pytest.importorskip("litert_torch", reason="the extra litert is not installed")
        out = tmp_path_factory.mktemp(form) / "new" / "graphs"
        return out, form, export(*networks(CONFIG.architecture), CONFIG, out, form)

    return once


@pytest.fixture(scope="module", params=FORMATS)
def exported(request: pytest.FixtureRequest, written: Written) -> tuple[Path, str, dict[str, Check]]:
    return written(request.param)


@pytest.fixture(scope="module")
def onnx_directory(written: Written) -> Path:
    return written("onnx")[0]


def test_written_graphs_were_compared_with_the_networks(exported: tuple[Path, str, dict[str, Check]]) -> None:
    out, form, found = exported
    assert list(found) == list(GRAPHS)
    assert max(check.largest_difference for check in found.values()) <= (1e-7 if form == "torch" else 1e-5)
    assert min(check.ms_per_frame for check in found.values()) > 0
    described = read_export(out, form)
    assert described["checks"] == {name: asdict(check) for name, check in found.items()}
    assert {path.name for path in out.iterdir() if path.is_file()} == {EXPORT_JSON, *(name + FORMATS[form] for name in GRAPHS)}
    assert Config.from_json(described["config"]) == CONFIG
    assert described["versions"]["torch"] == torch.__version__


@functools.cache
def runner(out: Path, form: str) -> Callable[..., Any]:
    """run(name, *inputs): run a file without the code of this project."""
    if form in RUNTIMES:
        graphs: dict[str, Any] = {name: RUNTIMES[form](out / f"{name}{FORMATS[form]}", "cpu", 1) for name in GRAPHS}
    else:
        graphs = {name: torch.export.load(out / f"{name}.pt2").module() for name in GRAPHS}
    return lambda name, *inputs: graphs[name](*inputs)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_rows(exported: tuple[Path, str, dict[str, Check]], count: int) -> None:
    """Compare with the networks rather than the modules of the graphs, which might be wrong."""
    run, (detector, generator) = runner(*exported[:2]), networks(CONFIG.architecture)
    images, source = image("export", count + 1, 3, 64, 8).float(), keypoints(1, 0)
    with torch.no_grad():
        found, expected = run("kp_detector", images[1:]), detector(images[1:])
        for tensor, of_networks in zip(found, rows(expected), strict=True):
            np.testing.assert_allclose(tensor, of_networks, rtol=0, atol=1e-5)
        driving = keypoints(count, 7)
        prediction = run("generator", images[:1], *rows(source, driving))
        expected = torch.cat(
            [
                generator(images[:1], source_keypoints=source, driving_keypoints=driving[number : number + 1]).prediction
                for number in range(count)
            ]
        )
    np.testing.assert_allclose(prediction if exported[1] == "torch" else prediction[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("adapt_scale", [False, True])
@pytest.mark.parametrize("relative_jacobian", [False, True])
def test_driving_keypoints_are_normalized_as_without_a_graph(
    exported: tuple[Path, str, dict[str, Check]], relative_jacobian: bool, adapt_scale: bool
) -> None:
    run, first, source = runner(*exported[:2]), keypoints(1, 3), keypoints(1, 5)
    switches = torch.tensor(relative_jacobian), torch.tensor(adapt_scale)
    for count in (1, 4):
        driving = keypoints(count, 9)
        expected = normalize_keypoints(source, driving, first, adapt_scale=adapt_scale, relative_jacobian=relative_jacobian)
        *found, flat = run("process_kp_driving", *rows(driving, first, source), *switches)
        for tensor, of_networks in zip(found, rows(expected), strict=True):
            np.testing.assert_allclose(tensor, of_networks, rtol=1e-6, atol=1e-6)
        assert np.asarray(flat).tolist() == [False]


def test_a_degenerate_hull_and_a_singular_jacobian(exported: tuple[Path, str, dict[str, Check]]) -> None:
    run, first, source, driving = runner(*exported[:2]), keypoints(1, 3), keypoints(1, 5), keypoints(2, 9)
    assert first.jacobian is not None
    first.value[0] = torch.tensor([[-0.5, -0.25], [0.0, 0.0], [0.5, 0.25]])
    first.jacobian[0, 1] = torch.tensor([[1.0, 2.0], [0.5, 1.0]])
    expected = normalize_keypoints(source, driving, first, adapt_scale=True)
    *found, flat = run("process_kp_driving", *rows(driving, first, source), torch.tensor(True), torch.tensor(True))
    assert np.asarray(flat).tolist() == [True]
    for tensor, of_networks in zip(found, rows(expected), strict=True):
        np.testing.assert_allclose(tensor, of_networks, rtol=1e-5, atol=1e-6)


def test_opset_and_dynamic_dimensions_of_onnx_files(onnx_directory: Path) -> None:
    for name, graph in graphs(*networks(CONFIG.architecture)).items():
        model = onnx.load(onnx_directory / f"{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert {(each.domain, each.version) for each in model.opset_import} == {("", 20)}
        assert not model.functions
        inputs = {
            each.name: [dim.dim_param or dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in model.graph.input
        }
        assert list(inputs) == list(graph.inputs)
        assert [each.name for each in model.graph.output] == list(graph.outputs)
        assert {each for each, shape in inputs.items() if shape and shape[0] == "batch"} == graph.batched


def test_the_backend_accepts_tensors_and_arrays_and_warns_once(onnx_directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend, points = ExportedModel(onnx_directory, "onnx", threads=1), keypoints(2, 0)
    assert (backend.size, backend.channels, backend.keypoints, backend.jacobians) == (64, 3, 3, True)
    images = image("backend", 2, 3, 64, 8)
    for found, same in zip(backend.kp_detector(images), backend.kp_detector(images.numpy()), strict=True):
        np.testing.assert_array_equal(found, same)
    points.value[:] = points.value[:1, :1]
    for _ in range(2):
        backend.process_kp_driving(*rows(points, points[:1], points[:1]), adapt_movement_scale=True)
    assert [record.message for record in caplog.records] == ["motion is not scaled, since keypoints are on a line"]
    with pytest.raises(ValueError, match=r"source is \[2, 3, 64, 64\], must be \[1, 3, 64, 64\]"):
        backend.generator(images, *rows(points[:1], points))


def test_the_backend_replaces_the_networks(onnx_directory: Path) -> None:
    """All three steps of an animation, and the resulting image."""
    stand_in, (detector, generator) = ExportedNetworks(onnx_directory, "onnx", threads=1), networks(CONFIG.architecture)
    images = image("stand in", 3, 3, 64, 8).float()
    with torch.no_grad():
        found, expected = stand_in.kp_detector(images), detector(images)
        moved = stand_in.process_kp_driving(found[1:], found[1:2], found[:1], adapt_scale=True)
        expected = normalize_keypoints(expected[:1], expected[1:], expected[1:2], adapt_scale=True)
        for pair in zip(rows(moved), rows(expected), strict=True):
            torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-5)
        by_networks = generator(images[:1], source_keypoints=expected[:1], driving_keypoints=expected[:1]).prediction
    torch.testing.assert_close(stand_in.generator(images[:1], found[:1], moved)[:1], by_networks, rtol=0, atol=1e-5)


def test_animations_of_backend_and_networks_are_equal(onnx_directory: Path) -> None:
    """Integers from 0 to 255 may differ by 1 after rounding."""
    images = np.rint(255 * image("animation", 5, 3, 64, 8).permute(0, 2, 3, 1).numpy()).astype(np.uint8)
    for movement in (Movement(), Movement(adapt_scale=True), Movement(relative=False)):
        both = [
            np.stack([*Animator(backend, images[0], movement).animate(images[1:], batch=3)]).astype(int)
            for backend in (FoldedNetworks(*networks(CONFIG.architecture)), ExportedNetworks(onnx_directory, "onnx", threads=1))
        ]
        assert both[0].shape == (4, 64, 64, 3) and np.ptp(both[0]) > 50
        assert np.abs(both[0] - both[1]).max() <= 1


def test_exported_graphs_run_without_torch_and_networks(onnx_directory: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from motionshards.trainers.fomm.exported.model import ExportedModel\n"
        "backend = ExportedModel(Path(sys.argv[1]), 'onnx', threads=1)\n"
        "images = np.random.default_rng(0).random((3, 3, 64, 64), np.float32)\n"
        "kp, jacobian = backend.kp_detector(images)\n"
        "first, source = (kp[1:2], jacobian[1:2]), (kp[:1], jacobian[:1])\n"
        "moved = backend.process_kp_driving(kp[1:], jacobian[1:], *first, *source)\n"
        "image = backend.generator(images[:1], *source, *moved)\n"
        "assert image.shape == (2, 3, 64, 64) and 0 <= image.min() < image.max() <= 1\n"
        "print([name for name in sys.modules if name in ('torch', 'scipy') or name.startswith('motionshards.trainers')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(onnx_directory)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    names = ("", ".fomm", *(f".fomm.exported{name}" for name in ("", ".model", ".litert")), ".graph_arrays", ".onnx_graph")
    assert sorted(ast.literal_eval(done.stdout)) == sorted(f"motionshards.trainers{name}" for name in names)


def changed(directory: Path, **fields: Any) -> None:
    described = json.loads((directory / EXPORT_JSON).read_text())
    (directory / EXPORT_JSON).write_text(json.dumps({**described, **fields}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda out: (out / EXPORT_JSON).unlink(), "is not an export of jobs.export_model: .*No such file"),
        (lambda out: (out / "generator.onnx").unlink(), "is not an export of jobs.export_model: .*generator.onnx: No such file"),
        (lambda out: (out / "kp_detector.onnx").write_bytes(b"no graph"), "kp_detector.onnx is not the file"),
        (lambda out: (out / EXPORT_JSON).write_text("{"), "is invalid"),
        (lambda out: (out / EXPORT_JSON).write_text("[]"), "is invalid"),
        (lambda out: changed(out, format="torch"), "is of format 'torch'"),
        (lambda out: changed(out, version=2), "version 2"),
        (lambda out: changed(out, graphs={}), "is invalid"),
    ],
)
def test_incomplete_exports_are_refused_in_one_line(
    onnx_directory: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    for path in onnx_directory.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    ExportedModel(tmp_path, "onnx")
    damage(tmp_path)
    with pytest.raises(ConfigError, match=message) as raised:
        ExportedModel(tmp_path, "onnx")
    assert "\n" not in str(raised.value)


def test_invalid_graph_files_and_absent_devices_are_refused(tmp_path: Path, onnx_directory: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match=r"a\.onnx cannot be loaded"):
        OnnxGraph(tmp_path / "a.onnx")
    with pytest.raises(ConfigError, match="onnxruntime cannot run on 'abacus' here"):
        ExportedModel(onnx_directory, "onnx", "abacus")


def test_a_missing_package_is_named(tmp_path: Path, onnx_directory: Path) -> None:
    """In a process that cannot import it."""
    program = (
        "import sys, importlib.abc\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.partition('.')[0] in ('onnxscript', 'onnxruntime'): raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from pathlib import Path\n"
        "from motionshards.schemas.errors import ConfigError\n"
        "from motionshards.trainers.fomm.exported.model import ExportedModel\n"
        "try: ExportedModel(Path(sys.argv[1]), 'onnx')\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(onnx_directory)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "onnxruntime cannot be imported (onnxruntime); pip install 'motionshards[export]'"
