"""The export-model command: files, output and exit statuses."""

import json
import sys
from pathlib import Path

import pytest
import torch
from fomm_inputs import TINY

import motionshards.jobs.export_model
import motionshards.trainers.fomm.export
from motionshards.dataset.reading.world import World
from motionshards.schemas.output import only_writer
from motionshards.trainers import settings
from motionshards.trainers.checkpoint import Progress, save
from motionshards.trainers.fomm.config import CONFIGS, Config
from motionshards.trainers.fomm.export import Check
from motionshards.trainers.fomm.exported.model import EXPORT_JSON, GRAPHS, ExportedModel, read_export
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import KPDetector
from motionshards.trainers.fomm.training import FommTask
from motionshards.trainers.task import Runtime


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, config: Path) -> Path:
    """A checkpoint of a run, with random weights."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("run") / "last.pt"
    runtime = Runtime(world=World(0, 1), device=torch.device("cpu"), vgg="none")
    save(path, FommTask(settings.load(str(config), CONFIGS), runtime), Progress(0, 0, {}))
    return path


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A checkpoint like those of the authors, with weights but without settings."""
    content = torch.load(checkpoint, weights_only=True)
    path = tmp_path_factory.mktemp("authors") / "weights.pth.tar"
    torch.save({name: content[name] for name in ("generator", "kp_detector", "discriminator", "epoch")}, path)
    return path


def run(checkpoint: Path, output: Path, *more: object) -> int:
    return motionshards.jobs.export_model.main(["--checkpoint", str(checkpoint), "--output", str(output), *map(str, more)])


def test_onnx_graphs_of_a_training_run(
    checkpoint: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "graphs"
    assert run(checkpoint, out, "--json") == 0
    output = capsys.readouterr()
    assert output.err == ""
    graphs = json.loads(output.out)["graphs"]
    assert {name: graph["path"] for name, graph in graphs.items()} == {name: str(out / f"{name}.onnx") for name in GRAPHS}
    assert all(graph["size_bytes"] == Path(graph["path"]).stat().st_size for graph in graphs.values())
    assert all(
        graph["mean_difference"] <= graph["largest_difference"] < 1e-4 and graph["ms_per_frame"] > 0 for graph in graphs.values()
    )
    described = read_export(out, "onnx")
    assert Config.from_json(described["config"]) == settings.load(str(config), CONFIGS)
    assert ExportedModel(out, "onnx").size == 32


def test_align_corners_option(
    bare: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The option determines the exported networks and the settings in export.json."""
    recorded = []

    def recording(
        detector: KPDetector, generator: OcclusionAwareGenerator, config: Config, out: Path, form: str, precision: str
    ) -> dict[str, Check]:
        recorded.append(
            (generator.align_corners, generator.dense_motion_network.align_corners, config.architecture.align_corners)
        )
        return {}

    monkeypatch.setattr(motionshards.jobs.export_model, "export", recording)
    (tmp_path / "other.yaml").write_text(f"{TINY}  align_corners: false\n")
    out, other = tmp_path / "graphs", tmp_path / "other.yaml"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for flags in ((config,), (config, "--align-corners", "false"), (other,), (other, "--align-corners", "true")):
        assert run(bare, out, "--config", *flags) == 0
    assert recorded == [(value, value, value) for value in (True, False, False, True)]
    assert capsys.readouterr().err.count(f"next: motionshards animate --checkpoint {out} ") == 4


@pytest.mark.slow
def test_graphs_that_differ_from_the_networks_are_not_accepted(
    bare: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authors' weights with a config. The export.json of an older export must not remain."""
    (tmp_path / EXPORT_JSON).write_text("{}")
    monkeypatch.setattr(motionshards.trainers.fomm.export, "LIMITS", {"fp32": -1.0})
    assert run(bare, tmp_path, "--format", "torch", "--config", config) == 1
    output = capsys.readouterr()
    figures = ", ".join(f"{name} by 0 (limit -1)" for name in GRAPHS)
    start = "error: graphs in fp32 differ from the networks, relative to the contrast of their output: "
    assert output.err == f"{start}{figures}; no export.json is written\n"
    differences = [line.partition("difference: ")[2] for line in output.out.splitlines()]
    assert differences == ["max 0.0e+00, relative 0.0e+00 (limit -1)"] * 3
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {f"{name}.pt2" for name in GRAPHS}


def test_invalid_exports_are_refused_in_one_line(
    checkpoint: Path, bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, content = tmp_path / "other.pt", torch.load(checkpoint, weights_only=True)
    torch.save({**content, "motionshards": {**content["motionshards"], "model": "ganimation"}}, other)
    older, config = tmp_path / "older.pt", content["motionshards"]["config"]
    torch.save({**content, "motionshards": {**content["motionshards"], "config": {"name": config["name"]}}}, older)
    file = tmp_path / "file"
    file.write_text("no weights")
    out = tmp_path / "out"
    cases = [
        ((tmp_path / "absent.pt", out), "checkpoint not found"),
        ((file, out), "cannot be read as a checkpoint"),
        ((other, out), "is a checkpoint of ganimation, not of fomm"),
        ((bare, out), "does not contain its settings; pass --config with the name"),
        ((older, out), "its settings are of another version"),
        ((bare, out, "--config", "vox-256"), "kp_detector has another architecture"),
        ((checkpoint, file), "cannot be written"),
        ((checkpoint, file / "below"), "cannot be written"),
    ]
    for arguments, message in cases:
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and error.startswith("error: ")
    assert not out.exists()


def test_an_occupied_directory_is_refused_before_the_checkpoint_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("")
    assert run(tmp_path / "absent.pt", tmp_path) == 2
    assert "holds no export (found 'thesis.tex')" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_concurrent_exports_to_one_directory_are_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with only_writer(tmp_path):
        assert run(checkpoint, tmp_path) == 2
    assert "is writing to" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_missing_packages_are_named(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = {"onnx": ("onnx", "onnx-that-is-nowhere"), "litert": ("litert-nowhere",)}
    monkeypatch.setattr(motionshards.trainers.fomm.export, "_PACKAGES", packages)
    for form, extra in (("onnx", "export"), ("litert", "litert")):
        assert run(checkpoint, tmp_path / "out", "--format", form) == 2
        message = capsys.readouterr().err
        assert message == f"error: --format {form} needs {packages[form][-1]}; pip install 'motionshards[{extra}]'\n"


def test_only_litert_has_weights_of_lower_precision(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(checkpoint, tmp_path / "out", "--precision", "int8") == 2
    assert capsys.readouterr().err == "error: --precision int8 applies to --format litert, not to onnx\n"
