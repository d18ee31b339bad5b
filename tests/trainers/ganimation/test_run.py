"""GANimation with the train command: files of a run, resumption and initialization."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made import make_dataset
from training_runs import metrics, same

import motionshards.jobs.train
from motionshards.schemas.manifest import Manifest
from motionshards.trainers.ganimation.config import Config
from motionshards.trainers.ganimation.networks import Critic, Generator

TINY = """
architecture: {size: 32, width: 4, residuals: 1}
training: {epochs: 4, decay_epochs: 2, global_batch_size: 4, generator_every: 2}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 clips with action units in two of three frames: three steps per epoch, twelve in total."""
    return make_dataset(tmp_path_factory.mktemp("gan"), 12, aus=True)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def train(data: Path, config: Path, run: Path, *more: object) -> int:
    command = ["--model", "ganimation", "--config", config, "--data", data, "--output", run, "--device", "cpu", "--quiet"]
    return motionshards.jobs.train.main([str(word) for word in [*command, "--log-every", 1, "--workers", 1, *more]])


def state(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "last.pt", weights_only=True)
    return content


def test_files_and_resumption_of_a_run(data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(data, config, whole, "--images-every", 5) == 0
    lines = metrics(whole)
    assert [(line["step"], line["epoch"]) for line in lines] == [(step + 1, step // 3) for step in range(12)]
    assert ["g_cycle" in line for line in lines] == [False, True, False] * 4, "counted within the epoch"
    assert all(line["skipped"] == 0 for line in lines), "frames without action units are not chosen"
    assert lines[0]["lr_G"] == lines[0]["lr_D"] == 1e-4 > lines[-1]["lr_G"] == lines[-1]["lr_D"] > 0
    assert [path.name for path in sorted((whole / "images").iterdir())] == ["00000005.jpg", "00000010.jpg", "00000012.jpg"]
    content = state(whole)
    assert {"G", "D", "optimizer_G", "optimizer_D", "epoch", "motionshards"} == content.keys()
    shape = Config.from_json(content["motionshards"]["config"]).architecture
    Generator(shape).load_state_dict(content["G"])
    Critic(shape).load_state_dict(content["D"])
    for cut in (4, 10):
        assert train(data, config, parts, "--stop-after", cut) == 0
        (group,) = state(parts)["optimizer_D"]["param_groups"]
        assert group["lr"] == pytest.approx(1e-4 if cut < 10 else 5e-5), "half, in the last of four epochs"
    capsys.readouterr()
    assert train(data, config, parts, "--epochs", 5) == 2
    error = capsys.readouterr().err
    assert "training.epochs: 4 → 5" in error and "its learning rate depends on" in error and "another --output" in error
    assert train(data, config, parts) == 0
    assert metrics(parts) == lines
    assert same(state(parts), content)


@pytest.mark.slow
def test_init_loads_weights_of_the_published_code(data: Path, config: Path, tmp_path: Path) -> None:
    assert train(data, config, tmp_path / "first", "--stop-after", 2) == 0
    published = state(tmp_path / "first")
    for name in ("G", "D"):
        torch.save(published[name], tmp_path / f"net_epoch_30_id_{name}.pth")
    run = tmp_path / "second"
    assert train(data, config, run, "--init", tmp_path / "net_epoch_30_id_G.pth", "--stop-after", 1) == 0
    found = state(run)
    assert same(found["G"], published["G"]), "the generator is not trained in the first step"
    key = next(iter(published["D"]))
    assert 0 < (found["D"][key] - published["D"][key]).abs().max() <= 3e-4, "two steps away"


def test_a_dataset_without_action_units_is_refused(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(make_dataset(tmp_path / "data", 4), config, tmp_path / "run") == 2
    stderr = capsys.readouterr().err
    assert "needs action units" in stderr and "--add aus" in stderr and stderr.count("\n") == 1


def test_action_units_of_another_origin_are_refused(
    data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, stills = tmp_path / "run", Path(shutil.copytree(data, tmp_path / "stills"))
    manifest = Manifest.read(stills)
    replace(manifest, config=replace(manifest.config, aus="openface-still")).write(stills)
    assert train(data, config, run, "--stop-after", 1) == 0
    assert state(run)["motionshards"]["names"] == {"action units": ["csv"]}
    capsys.readouterr()
    assert train(stills, config, run, "--stop-after", 2) == 2
    stderr = capsys.readouterr().err
    assert "trained on other action units: 1 missing: csv; 1 new: openface-still" in stderr and stderr.count("\n") == 1
    assert train(stills, config, tmp_path / "other", "--init", run / "last.pt") == 2
    stderr = capsys.readouterr().err
    assert "action units of csv, and those of the dataset are of openface-still: they must not be mixed" in stderr
    content = state(run)
    content["motionshards"]["names"] = {}
    torch.save(content, run / "last.pt")
    assert train(data, config, run, "--stop-after", 2) == 0, "a run of an earlier version can be resumed"
