"""Datasets to remove clips from."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import in_this_process
from removals import BAD, build_args

from motionshards.dataset import build


@pytest.fixture(scope="session")
def videos(demo_videos: Path, once: Callable[..., Path]) -> Path:
    """Eight utterances of two people, and two files of one of them that are not videos; read-only."""

    def write(root: Path) -> None:
        shutil.copytree(demo_videos, root)
        for name in ("00001", "00002"):
            path = root / "dev/mp4" / BAD.replace("00001", name)
            path.parent.mkdir(exist_ok=True)
            path.with_suffix(".mp4").write_text("no video")

    return once("ten-videos", write)


@pytest.fixture(scope="session")
def original(videos: Path, once: Callable[..., Path]) -> Path:
    """A dataset of eight clips and two rejected ones; read-only."""

    def write(out: Path) -> None:
        with in_this_process():
            assert build.main(build_args(videos, out)) == 0

    return once("eight-clips", write)


@pytest.fixture
def out(original: Path, tmp_path: Path) -> Path:
    """A copy of it, which the test may change."""
    return Path(shutil.copytree(original, tmp_path / "data"))
