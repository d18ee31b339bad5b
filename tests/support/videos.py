"""Videos written by ffmpeg for tests."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from motionshards.transforms.extract.ffmpeg import ffmpeg_path

MakeVideo = Callable[..., Path]
"""The fixture `make_video` of tests/conftest.py."""


def ffmpeg(*arguments: str | Path) -> bytes:
    """Run ffmpeg, which overwrites its output, and return what it writes to its standard output."""
    command = [ffmpeg_path(), "-nostdin", "-v", "error", "-y", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def side_by_side(path: Path, left: Path, right: Path, frames: int) -> None:
    """Write the first frames of two videos of one height as one video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    how = ["-filter_complex", "[0][1]hstack", "-frames:v", str(frames), "-crf", "10", "-pix_fmt", "yuv420p", "-an"]
    ffmpeg("-i", left, "-i", right, *how, path)
