"""Removals that are interrupted or killed at any step are finished by the same command."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from checkout import ROOT
from contents import tree
from removals import build_args, samples, sound

from motionshards.dataset import build, remove, verify
from motionshards.dataset.index import Dataset
from motionshards.pipeline.shards import remove_clips
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import DATASET_JSON, INDEX

pytestmark = pytest.mark.usefixtures("quick")


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int, module: Any, name: str) -> None:
    """Make call number `step` of a function raise KeyboardInterrupt instead."""
    calls, unpatched = [0], getattr(module, name)

    def interrupted(*arguments: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] == step:
            raise KeyboardInterrupt
        return unpatched(*arguments, **more)

    monkeypatch.setattr(module, name, interrupted)


@pytest.fixture(scope="session")
def removed(original: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files after an uninterrupted removal."""
    out = Path(shutil.copytree(original, tmp_path_factory.mktemp("removed") / "data"))
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    return tree(out)


@pytest.mark.parametrize("step", range(1, 20))
def test_a_removal_interrupted_before_any_rename_is_finished_by_the_same_command(
    out: Path, original: Path, videos: Path, removed: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any, step: int
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, step, Path, "replace")
        status = remove.main([str(out), "--identity", "id90000"])
    if status == 130 and (out / DATASET_JSON).read_bytes() != (original / DATASET_JSON).read_bytes():
        assert not clips_only_in_the_index(out)
        with pytest.raises(DatasetError, match="a removal was interrupted"):
            Dataset.open(out)
        assert "a removal was interrupted" in verify.verify(out).faults[0]
        assert build.main(build_args(videos, out)) == 2
        assert "a removal was interrupted" in capsys.readouterr().err
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    assert tree(out) == removed and sound(out)


def clips_only_in_the_index(out: Path) -> list[str]:
    """Keys in the index that are in no tar."""
    if not (out / INDEX).exists():
        return []
    return sorted(set(pq.read_table(out / INDEX)["key"].to_pylist()) - set(samples(out)))


def test_an_interrupted_removal_is_finished_without_naming_the_identity_again(
    out: Path, removed: dict[str, str], monkeypatch: Any
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, remove_clips, "replace_shard")
        assert remove.main([str(out), "--identity", "id90000"]) == 130
    assert b"id90000" not in (out / DATASET_JSON).read_bytes()
    assert remove.main([str(out)]) == 0
    assert tree(out) == removed
    assert remove.main([str(out)]) == 2


def test_a_removal_killed_at_random_times_is_finished(out: Path, original: Path, removed: dict[str, str], tmp_path: Path) -> None:
    """SIGKILL, several times in a row, then one complete run."""
    dice = random.Random(4)
    command = [sys.executable, "-m", "dataset.remove", str(out), "--identity", "id90000"]
    start = time.monotonic()
    beside = Path(shutil.copytree(original, tmp_path / "beside"))
    subprocess.run([*command[:3], str(beside), *command[4:]], cwd=ROOT, check=True, capture_output=True)
    usual_s, landed = time.monotonic() - start, 0
    for _ in range(6):
        running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started = wait_for(lambda: (out / ".work").exists(), running)
        time.sleep(dice.uniform(0, usual_s / 20) if started else 0)
        running.send_signal(signal.SIGKILL)
        landed += running.wait() == -signal.SIGKILL
        assert not clips_only_in_the_index(out)
    assert landed >= 1
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert tree(out) == removed and sound(out)


def wait_for(condition: Callable[[], bool], running: subprocess.Popen[bytes]) -> bool:
    while running.poll() is None:
        if condition():
            return True
        time.sleep(0.001)
    return False
