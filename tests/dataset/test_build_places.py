"""Default input and output of a build: $MOTIONSHARDS_DATA/SOURCE or data/SOURCE, and shards/SOURCE."""

import shutil
from pathlib import Path

import pytest

from motionshards.dataset import build
from motionshards.schemas.manifest import Manifest

ASK = [
    "--source",
    "voxceleb2",
    "--size",
    "64",
    "--frames",
    "2",
    "--landmarks",
    "none",
    "--workers",
    "1",
    "--limit",
    "1",
    "--quiet",
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOTIONSHARDS_DATA", raising=False)
    return tmp_path


@pytest.mark.parametrize("variable", [None, "corpora"])
def test_the_bare_command_builds(
    elsewhere: Path, demo_videos: Path, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(demo_videos, elsewhere / (variable or "data") / "voxceleb2")
    if variable:
        monkeypatch.setenv("MOTIONSHARDS_DATA", variable)
    assert build.main(ASK) == 0
    assert Manifest.read(elsewhere / "shards" / "voxceleb2").counts["kept"] == 1


def test_a_missing_default_input_is_reported_with_the_expected_layout(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main(ASK) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert all(
        words in output for words in ("data/voxceleb2 does not exist", "{dev,test}/mp4/", "MOTIONSHARDS_DATA", "docs/sources/")
    )
    assert not list(elsewhere.iterdir())


def test_the_demo_in_a_bucket_needs_a_directory_for_its_videos(capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--source", "demo", "--output", "s3://bucket/demo"]) == 2
    assert capsys.readouterr().err == "error: --output s3://bucket/demo needs --input\n"
