"""Datasets with videos that crash the process that decodes them."""

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import moving
import pytest

from motionshards.schemas.records import Clip

BAD = (3, 8)
DEADLY = b"deadly"

# Python imports this module on startup: it makes decoding of some files kill the process, like a bug in the decoder.
SITE = """
    import signal
    from motionshards.transforms.extract import stored_video

    into = stored_video.FrameReader.into

    def deadly(self, content, numbers, out):
        if content.endswith({mark!r}):
            signal.raise_signal(signal.{signal})
        into(self, content, numbers, out)

    stored_video.FrameReader.into = deadly
"""


def import_at_start(program: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every Python subprocess run a program first, which is written to `directory`."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(textwrap.dedent(program))
    monkeypatch.syspath_prepend(directory)


def deadly_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: str = "SIGSEGV") -> Path:
    """A dataset of twelve clips; the bad ones kill the processes that decode them by a signal."""
    import_at_start(SITE.format(mark=DEADLY, signal=signal), tmp_path / "site", monkeypatch)
    return harmed(tmp_path / "deadly", lambda mp4: mp4 + DEADLY, monkeypatch)


def harmed(out: Path, how: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset whose bad clips have their mp4 changed."""
    right = moving._clip

    def clip(number: int, *rest: object) -> Clip:
        intact = right(number, *rest)  # type: ignore[arg-type]
        assert intact.video is not None
        return replace(intact, video=replace(intact.video, mp4=how(intact.video.mp4))) if number in BAD else intact

    with monkeypatch.context() as patch:
        patch.setattr(moving, "_clip", clip)
        return moving.make_moving_dataset(out)
