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
