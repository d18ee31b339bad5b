"""Builds with stored video and sound: bytes do not depend on workers, and every planned clip is accounted for."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from contents import tree
from impulses import KINDS, write_impulses
from videos import ffmpeg

from motionshards.dataset import build

FAST = ["--source", "voxceleb2", "--size", "64", "--landmarks", "none", "--frames", "3", "--quiet"]


@pytest.fixture(scope="module")
def videos(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight utterances, every other one with sound, and a file that is not a video."""
    top = Path(shutil.copytree(demo_videos, tmp_path_factory.mktemp("speaking") / "videos"))
    write_impulses(top / "clicks.mp4", KINDS["mp4 AAC"], 4)
    for number, video in enumerate(sorted(top.glob("*/mp4/*/*/*.mp4"))):
        if number % 2 == 0:
            mute = video.replace(top / "mute.mp4")
            ffmpeg("-i", mute, "-i", top / "clicks.mp4", "-map", "0:v", "-map", "1:a", "-c", "copy", "-shortest", video)
            mute.unlink()
    (top / "clicks.mp4").unlink()
    (top / "dev/mp4/id90000/empty000000").mkdir()
    (top / "dev/mp4/id90000/empty000000/00001.mp4").touch()
    return top


@pytest.mark.parametrize("store", ["video", pytest.param("both", marks=pytest.mark.slow)])
def test_the_bytes_do_not_depend_on_workers(videos: Path, tmp_path: Path, store: str) -> None:
    def run(name: str, workers: int) -> dict[str, str]:
        words = [*FAST, "--input", str(videos), "--output", str(tmp_path / name), "--store", store, "--workers", str(workers)]
        assert build.main(words) == 0
        return tree(tmp_path / name)

    first = run("one", 1)
    assert run("two", 2) == first
    index = pq.read_table(tmp_path / "one/index.parquet").to_pylist()
    assert sum(row["has_audio"] for row in index) == 4 == len(index) / 2
    assert all(row["video_frames"] == round(row["duration_s"] * 25) and row["fps"] == 25 for row in index)
    assert all(("flac" in [one["suffix"] for one in row["members"]]) == row["has_audio"] for row in index)
    assert len(pq.read_table(tmp_path / "one/rejections.parquet")) == 1


def test_settings_of_video_without_video_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main([*FAST, "--input", str(tmp_path), "--output", str(tmp_path / "out"), "--fps", "30"]) == 2
    assert "fps: only for stored video, but store is 'stills'" in capsys.readouterr().err
    assert build.main([*FAST, "--input", str(tmp_path), "--output", str(tmp_path / "out"), "--store", "video", "--fps", "x"]) == 2
    assert "fps is 'x', must be 'source' or a rate" in capsys.readouterr().err
