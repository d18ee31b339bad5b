"""A dataset without landmarks, and the same with landmarks added."""

import shutil
from pathlib import Path

import pytest
from additions import add_args, build_args
from in_process import in_this_process
from videos import ffmpeg

from motionshards.dataset import build


@pytest.fixture(scope="session")
def videos(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory, make_faceless: Path) -> Path:
    """Four utterances with a face, one without, and a file that is not a video."""
    root = tmp_path_factory.mktemp("add") / "videos"
    shutil.copytree(demo_videos / "dev", root / "dev")
    for name, content in (("00001", make_faceless.read_bytes()), ("00002", b"no video")):
        path = root / f"dev/mp4/id90000/noface00000/{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return root


@pytest.fixture(scope="session")
def make_faceless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faceless") / "bars.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x96:rate=25:duration=1", path)
    return path


@pytest.fixture(scope="session")
def original(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without landmarks; read-only."""
    out = tmp_path_factory.mktemp("add") / "data"
    with in_this_process():
        assert build.main(build_args(videos, out, "--landmarks", "none")) == 0
    return out


@pytest.fixture
def out(original: Path, tmp_path: Path) -> Path:
    """A dataset without landmarks, of five clips and a rejected one; the test may change it."""
    return Path(shutil.copytree(original, tmp_path / "data"))


@pytest.fixture(scope="session")
def added(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with landmarks added without interruption; read-only."""
    out = Path(shutil.copytree(original, tmp_path_factory.mktemp("added") / "data"))
    with in_this_process():
        assert build.main(add_args(out)) == 0
    return out
