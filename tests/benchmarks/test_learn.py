"""`benchmarks.learn` trains each model with the commands that users run, and evaluates held-out clips."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from benchmarks import learn
from benchmarks.learn_data import hold_out
from benchmarks.learn_models import COURSES, SIZE_PX
from motionshards.trainers.models import MODELS, plan


def test_every_model_has_a_course_with_valid_settings(tmp_path: Path) -> None:
    assert COURSES.keys() == MODELS.keys()
    for model, course in COURSES.items():
        for stage in course.stages:
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(stage.settings))
            assert plan(model, str(tmp_path / "config.yaml")).config.architecture.size == SIZE_PX


def test_the_last_clip_of_each_person_with_several_is_held_out(tmp_path: Path) -> None:
    clips = ("id1/a/00001", "id1/a/00002", "id1/b/00001", "id2/c/00001")
    for number, clip in enumerate(clips):
        path = tmp_path / "videos" / ("dev", "test")[number == 2] / "mp4" / f"{clip}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(clip)
    hold_out(tmp_path / "videos", tmp_path / "out")
    files = {path.relative_to(tmp_path / "out").as_posix(): path.read_text() for path in (tmp_path / "out").rglob("*.mp4")}
    assert files == {f"{half}/mp4/{clip}.mp4": clip for half, clip in zip(("dev", "dev", "test", "dev"), clips, strict=True)}


@pytest.mark.slow
def test_every_model_is_trained_and_measured(demo_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two steps each, on rendered videos."""
    arguments = ["--input", str(demo_videos), "--steps", "2", "--clips", "2", "--work", str(tmp_path)]
    assert learn.main([*arguments, "--results", str(tmp_path / "learn.md")]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    for model in MODELS:
        assert figures[f"{model}_l1_times_copy"] > 0
        assert figures[f"{model}_l1_times_step0"] not in (0, 1), "two steps must change the images"
    report = (tmp_path / "learn.md").read_text()
    assert all(f"| {stage.name}" in report for course in COURSES.values() for stage in course.stages)
    with Image.open(tmp_path / "learn.jpg") as strip:
        assert strip.height > 2 * len(MODELS) * SIZE_PX
