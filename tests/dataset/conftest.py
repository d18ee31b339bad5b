"""Read-only datasets shared by many tests, and fixtures that run builds in this process and pushes to a local Hub."""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from in_process import in_this_process
from made import make_dataset
from moving_builds import VIDEO, build_into, spoken_videos
from nine_clips import BAD_CLIP, SIZE

import motionshards.dataset.build
from motionshards.dataset.index import Dataset, Sample

if TYPE_CHECKING:
    from hub_here import Hub


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 clips of 5 to 8 frames of 7 identities in 6 shards; read-only."""
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def spoken(once: Callable[..., Path], demo_videos: Path) -> Path:
    """Three videos of one second, one of them without sound; read-only."""
    return once("spoken", lambda path: spoken_videos(demo_videos, path))


@pytest.fixture(scope="session")
def spoken_stills(spoken: Path, once: Callable[..., Path]) -> Path:
    """A dataset of their stills, a shard per clip; read-only."""
    return once("spoken-stills", lambda path: build_into(spoken, path, "--landmarks", "none"))


@pytest.fixture(scope="session")
def spoken_both(spoken: Path, once: Callable[..., Path]) -> Path:
    """The same with their video and sound; read-only."""
    return once("spoken-both", lambda path: build_into(spoken, path, "--landmarks", "none", "--store", "both", *VIDEO))


@pytest.fixture(scope="session")
def data_with_aus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with action units; read-only."""
    return make_dataset(tmp_path_factory.mktemp("data-with-aus"), aus=True)


@pytest.fixture(scope="session")
def samples(data_with_aus: Path) -> dict[str, Sample]:
    """Its samples by their keys."""
    return {sample.key: sample for sample in Dataset.open(data_with_aus).samples()}


@pytest.fixture(scope="session")
def built(demo_videos: Path, once: Callable[..., Path]) -> Path:
    """A dataset of eight kept clips and a rejected one, in several shards; read-only."""

    def videos(root: Path) -> None:
        shutil.copytree(demo_videos, root)
        (root / BAD_CLIP).parent.mkdir(parents=True)
        (root / BAD_CLIP).write_bytes(b"")

    def build(out: Path) -> None:
        options = ["--source", "voxceleb2", "--input", str(once("nine-videos", videos)), "--output", str(out), "--quiet"]
        with in_this_process():
            assert (
                motionshards.dataset.build.main([*options, "--size", str(SIZE), "--clips-per-shard", "2", "--workers", "1"]) == 0
            )

    return once("nine-clips", build)


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of it, which the test may change."""
    return Path(shutil.copytree(built, tmp_path / "data"))


@pytest.fixture(scope="session")
def noise_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty clips of noise with landmarks and action units, without source videos; read-only."""
    return make_dataset(tmp_path_factory.mktemp("preview-made") / "data", 30, aus=True)


@pytest.fixture(scope="session")
def faces(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four utterances with a face, built from a zip archive; read-only."""
    root = tmp_path_factory.mktemp("preview-faces")
    with zipfile.ZipFile(root / "test.zip", "w") as archive:
        for path in sorted((demo_videos / "test").rglob("*.mp4")):
            archive.write(path, path.relative_to(demo_videos))
    order = ["--source", "voxceleb2", "--input", str(root / "test.zip"), "--output", str(root / "data"), "--size", "192"]
    with in_this_process():
        assert motionshards.dataset.build.main([*order, "--workers", "1", "--quiet"]) == 0
    return root / "data"


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run builds in this process, except in tests with `workers` in their names."""
    if "workers" in request.node.name:
        yield
        return
    with in_this_process():
        yield


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Hub]":
    """A separate local Hub for each test, to which this process is logged in."""
    from hub_here import hub_here

    with hub_here(tmp_path, monkeypatch) as hub:
        yield hub
