"""What many tests need: the real corpus where it lies beside the checkout, small videos, and datasets that are built once."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import openface_program
import pytest
import torch
from checkout import SHARED
from videos import MakeVideo, ffmpeg

from motionshards.pipeline.sources.demo_render import render_demo

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests run beside each other, and small networks gain nothing by threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The real videos in the official layouts; a user's clone has none."""
    path = SHARED / "corpus"
    if not path.is_dir():
        pytest.skip("the real corpus does not lie beside this checkout")
    return path


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """once("name", write) -> what write(path) has written, once for all workers of pytest-xdist; it is read-only."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent

    def get(name: str, write: Callable[[Path], object]) -> Path:
        with (place / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (place / name).exists():
                part = place / f"part-{name}"
                shutil.rmtree(part, ignore_errors=True)  # of a test before, whose set-up failed
                write(part)
                part.rename(place / name)
        return place / name

    return get


@pytest.fixture(scope="session")
def demo_videos(once: Once) -> Path:
    """Eight rendered utterances of two people, in VoxCeleb2's layout; read-only."""

    def render(root: Path) -> None:
        assert render_demo(root, identities=2) == 8

    return once("demo-videos", render)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system here")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
def make_video(tmp_path: Path, once: Once) -> MakeVideo:
    """make_video("a.mp4", *ffmpeg_options, source="testsrc2=...") -> path of a video that ffmpeg's own generator draws."""

    def make(name: str, *options: str, source: str = "testsrc2=size=96x64:rate=25:duration=2") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = hashlib.sha256(repr((source, options)).encode()).hexdigest()[:20] + path.suffix
        shutil.copyfile(once(drawn, lambda to: ffmpeg("-f", "lavfi", "-i", source, *options, f"file:{to}")), path)
        return path

    return make


@pytest.fixture
def openface(tmp_path: Path) -> Callable[..., list[str]]:
    """openface(**orders) -> command line of a program that speaks OpenFace; called again it changes how the program behaves."""
    orders = tmp_path / "openface.json"

    def command(**behavior: object) -> list[str]:
        orders.write_text(json.dumps({"log": str(tmp_path / "openface.log"), **behavior}))
        return [sys.executable, openface_program.__file__, str(orders)]

    return command


@pytest.fixture
def peak_kb() -> Callable[[], int]:
    """How far the memory of this process has grown since the test began, in kB, at its peak (which Linux can reset)."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_kb()
    return lambda: _peak_kb() - before


def _peak_kb() -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
