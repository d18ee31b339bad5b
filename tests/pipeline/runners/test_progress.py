"""Progress: a bar on a terminal, plain lines in a log, nothing with --quiet."""

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from checkout import ROOT

from motionshards.pipeline.runners import progress


def test_a_log_gets_a_line_every_thirty_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = progress.progress(total=100, done=40, quiet=False)
    lines.update(5)
    assert capsys.readouterr().err == "", "thirty seconds have not passed"
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    lines.update(10)
    line = capsys.readouterr().err
    assert line.startswith("50 of 100 clips, ")
    assert "clips/s" in line
    assert line.endswith(" s left\n")
    lines.update(0)
    assert capsys.readouterr().err == "40 of 100 clips, starting workers\n"
    lines.close()


def test_quiet_prints_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    silent = progress.progress(total=100, done=0, quiet=True)
    silent.update(10)
    silent.close()
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_with_rate_and_time_left(demo_videos: Path, tmp_path: Path) -> None:
    terminal, output = pty.openpty()
    termios.tcsetwinsize(output, (24, 100))
    command = [
        sys.executable,
        "-m",
        "dataset.build",
        "--source",
        "voxceleb2",
        "--input",
        demo_videos,
        "--output",
        tmp_path / "out",
    ]
    command += ["--size", "64", "--landmarks", "none", "--workers", "1"]
    build = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=output)
    os.close(output)
    shown = b""
    while chunk := _read(terminal):
        shown += chunk
    assert build.wait() == 0
    assert b"starting workers" in shown
    assert b"8/8" in shown
    assert b"clip/s" in shown
    assert b"<00:00" in shown
    assert f"next: motionshards verify {tmp_path / 'out'} or motionshards report".encode() in shown


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # the terminal's other end is closed
        return b""
