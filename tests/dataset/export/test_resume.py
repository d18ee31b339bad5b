"""Exports that are interrupted, killed or crash: the final result equals that of an uninterrupted run."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from checkout import ROOT
from deadly import BAD, deadly_dataset, import_at_start

from motionshards.dataset.export.__main__ import main
from motionshards.dataset.index import Dataset

# Workers kill the process named by KILL after writing a clip under its temporary name; a file counts clips over all processes.
SITE = """
    import contextlib, os, signal, sys

    if sys.argv[0] == "-c":
        from motionshards.dataset.export.directory import ExportDirectory

        folder = ExportDirectory.folder

        @contextlib.contextmanager
        def deadly(self, name):
            with folder(self, name) as path:
                yield path
                with open(os.environ["COUNT"], "a") as stream:
                    stream.write(name + "\\n")
                with open(os.environ["COUNT"]) as stream:
                    number = len(stream.readlines())
                if number in map(int, os.environ["KILL_AT"].split()):
                    os.kill({"main": os.getppid(), "worker": os.getpid()}[os.environ["KILL"]], signal.SIGKILL)
                    signal.pause()  # a worker ends with the main process

        ExportDirectory.folder = deadly
"""


def tree(directory: Path) -> dict[str, str]:
    """SHA-256 of every file, including hidden ones."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def words(out: Path, output: Path, *options: str) -> list[str]:
    return [str(out), "--format", "frames", "--output", str(output), "--quiet", *options]


@pytest.fixture
def killing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the hook; without KILL_AT, no process is killed."""
    import_at_start(SITE, tmp_path / "site", monkeypatch)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    for name, value in (("COUNT", str(tmp_path / "count")), ("KILL_AT", ""), ("KILL", "main")):
        monkeypatch.setenv(name, value)


def killed_run(out: Path, output: Path, at: Sequence[int], monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> int:
    """Exit status of an export whose main process is killed after these numbers of written clips, counted over all runs."""
    monkeypatch.setenv("KILL_AT", " ".join(map(str, at)))
    command = [sys.executable, "-m", "motionshards", "export", *words(out, output, "--workers", str(workers))]
    status = subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode
    monkeypatch.setenv("KILL_AT", "")
    return status


@pytest.mark.usefixtures("killing")
def test_a_killed_export_resumes_at_the_unfinished_shard_with_the_same_bytes(
    moving: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "frames"
    assert killed_run(moving, output, [6], monkeypatch) == -signal.SIGKILL
    assert len(list((output / ".work").glob("*.jsonl"))) == 1 and not (output / "export.json").exists()
    assert main(words(moving, output, "--workers", "2")) == 0
    written = (tmp_path / "count").read_text().splitlines()
    first = Dataset.open(moving).index(["key"])["key"].to_pylist()[:4]
    assert all(written.count(key) == 1 for key in first) and len(set(written)) == 12
    assert tree(output) == tree(exported)


@pytest.mark.slow
@pytest.mark.usefixtures("killing")
def test_twenty_kills_at_random_clips_do_not_change_the_bytes(
    moving: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, count, kills = random.Random(1), tmp_path / "count", 0
    for number in range(20):
        output = tmp_path / f"frames{number // 5}"
        so_far = len(count.read_text().splitlines()) if count.exists() else 0
        status = killed_run(moving, output, [so_far + draw.randint(1, 5)], monkeypatch, workers=draw.randint(1, 3))
        assert status in (0, -signal.SIGKILL)
        kills += status != 0
    assert kills > 8
    for output in tmp_path.glob("frames*"):
        assert main(words(moving, output)) == 0
        assert tree(output) == tree(exported)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_reported_in_one_line_and_the_same_command_resumes(
    moving: Path, exported: Path, small_disk: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    output = small_disk / "frames"
    assert main(words(moving, output, "--workers", str(workers))) == 1
    printed = capsys.readouterr().err
    assert "No space left on device" in printed and printed.endswith("The same command resumes\n") and printed.count("\n") == 1
    assert not (output / "export.json").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert main(words(moving, output, "--workers", str(workers))) == 0
    assert tree(output) == tree(exported)


@pytest.mark.slow
@pytest.mark.usefixtures("killing")
def test_a_task_is_retried_once_after_its_worker_was_killed_from_outside(
    moving: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KILL", "worker")
    assert killed_run(moving, tmp_path / "once", [6], monkeypatch) == 0
    assert tree(tmp_path / "once") == tree(exported)
    (tmp_path / "count").unlink()
    monkeypatch.setenv("KILL_AT", "2 3")
    assert main(words(moving, tmp_path / "twice", "--workers", "1")) == 1
    assert "was killed by signal 9 while exporting shard" in (printed := capfd.readouterr().err)
    assert printed.endswith("The same command resumes\n")
    monkeypatch.setenv("KILL_AT", "")
    assert main(words(moving, tmp_path / "twice", "--workers", "1")) == 0
    assert tree(tmp_path / "twice") == tree(exported)


def test_clips_that_crash_a_worker_are_skipped_and_all_others_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = deadly_dataset(tmp_path, monkeypatch)
    assert main(words(out, tmp_path / "frames", "--workers", "2")) == 1
    assert "10 of 12 clips as frames" in (printed := capsys.readouterr().out) and "(2 crashed)" in printed
    clips = json.loads((tmp_path / "frames" / "export.json").read_text())["clips"]
    assert [number for number, clip in enumerate(clips) if clip.get("left_out") == "crashed"] == list(BAD)
    assert all((tmp_path / "frames" / clip["key"] / "clip.json").exists() == ("files" in clip) for clip in clips)
