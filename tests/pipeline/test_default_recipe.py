"""The default recipe of a folder is chosen by looking at some of its videos."""

from pathlib import Path

import pytest
from heads import head_in_frame

from motionshards.dataset import build
from motionshards.dataset.index import Dataset
from motionshards.pipeline.default_recipe import choose_recipe
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources import folder
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.manifest import Manifest
from motionshards.transforms.extract.landmarks import models

CONFIG = BuildConfig(source="folder", frames=3, size=128, tube_min_frames=10)


def chosen(videos: Path, config: BuildConfig = CONFIG) -> tuple[str, str]:
    dlib = models.load("dlib")
    assert dlib is not None
    return choose_recipe(folder.list_clips(Listing(DirectoryTree(videos))), videos, dlib, config)


@pytest.fixture
def head(demo_videos: Path) -> Path:
    return min((demo_videos / "dev").rglob("*.mp4"))


def test_people_in_large_frames_are_cropped(head: Path, tmp_path: Path) -> None:
    for number in range(2):
        head_in_frame(tmp_path / f"{number}.mp4", head, 200)
    recipe, why = chosen(tmp_path)
    assert recipe == "face" and why.endswith("in 2 of 2 examined videos; --recipe resize stores whole frames"), why
    share = float(why.split("fill ")[1].split("%")[0]) / 100
    assert 0.18 < share < 0.3, why
    recipe, why = chosen(tmp_path, BuildConfig(source="folder", tube_min_frames=20))
    assert recipe == "resize" and why.endswith("most have fewer frames than --tube-min-frames 20")


def test_close_ups_are_not_cropped(head: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to(head)
    recipe, why = chosen(tmp_path)
    assert recipe == "resize" and why.endswith("in 1 of 1 examined videos"), why


def test_videos_without_people_and_damaged_ones_are_stored_whole(head: Path, make_video, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for number in range(3):
        make_video(f"videos/{number}.mp4")
    head_in_frame(tmp_path / "videos" / "one.mp4", head, 200)
    (tmp_path / "videos" / "torn.mp4").write_bytes(head.read_bytes()[:100])
    assert chosen(tmp_path / "videos") == ("resize", "only 1 of 4 examined videos show a face")
    for path in (tmp_path / "videos").glob("[0-9o]*"):
        path.unlink()
    assert chosen(tmp_path / "videos") == ("resize", "none of the examined videos can be read")


def test_build_reports_the_chosen_recipe_and_keeps_it(head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "videos").mkdir()
    head_in_frame(tmp_path / "videos" / "a.mp4", head, 200)
    command = ["--source", "folder", "--input", str(tmp_path / "videos"), "--output", str(tmp_path / "out"), "--workers", "1"]
    small = ["--frames", "3", "--size", "64", "--tube-min-frames", "10", "--landmarks", "dlib"]
    assert build.main([*command, *small]) == 0
    assert "recipe: face (faces fill 2" in capsys.readouterr().err
    assert Manifest.read(tmp_path / "out").config.recipe == "face" and len(list(Dataset.open(tmp_path / "out").samples())) == 1
    for number in range(3):
        (tmp_path / "videos" / f"close{number}.mp4").symlink_to(head)
    assert build.main([*command, *small]) == 0
    assert "recipe:" not in capsys.readouterr().err
    assert Manifest.read(tmp_path / "out").counts["planned"] == 4
