"""`benchmarks.models` measures frames and training steps of every model."""

import json
from pathlib import Path

import pytest

from benchmarks import models
from benchmarks.learn_models import COURSES, SIZE_PX
from motionshards.trainers.models import MODELS, plan


def test_every_model_and_stage_is_measured_at_its_published_settings(tmp_path: Path) -> None:
    assert {model for model, _ in models._SETTINGS.values()} == MODELS.keys()
    for label in models._TRAINED:
        model, changes = models._SETTINGS[label]
        stage = label.partition(", ")[2] or next(iter(MODELS[model].configs))
        assert models._plan(model, changes, tmp_path).config.architecture == plan(model, stage).config.architecture


@pytest.mark.slow
def test_narrow_networks_are_measured(
    demo_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On rendered videos; the settings are those of `benchmarks.learn`."""
    narrow = {(model, stage.name): dict(stage.settings) for model, course in COURSES.items() for stage in course.stages}
    settings = {
        label: (model, narrow[model, label.partition(", ")[2].replace("256 px", "") or model])
        for label, (model, _) in models._SETTINGS.items()
    }
    monkeypatch.setattr(models, "_SETTINGS", settings)
    monkeypatch.setattr(models, "_SMALL_PX", SIZE_PX)
    arguments = ["--input", str(demo_videos), "--work", str(tmp_path), "--rounds", "1", "--steps", "1"]
    assert models.main([*arguments, "--results", str(tmp_path / "models.md")]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["fomm_times_fomm"] == figures["fomm_step_times_fomm"] == 1
    assert figures["face_rotator_times_fomm"] > figures["face_rotator_known_expression_times_fomm"] > 0
    report = (tmp_path / "models.md").read_text()
    assert all(f"| {label} " in report for label in models._TRAINED)
