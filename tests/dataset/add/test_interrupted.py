"""Additions that are interrupted, killed or stopped by damage: each tar is old or new, and the same command resumes."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from additions import add_args, build_args, rows
from checkout import ROOT
from contents import tree

from motionshards.dataset import build, remove, verify
from motionshards.dataset.index import Dataset
from motionshards.pipeline.shards import add as add_shard
from motionshards.pipeline.shards import rewrite
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import INDEX, next_marker_path, tar_path
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.marker import read_entry

pytestmark = pytest.mark.usefixtures("quick")


def stopped_after(monkeypatch: pytest.MonkeyPatch, out: Path, shards: int) -> None:
    """Run an addition that is interrupted after this number of shards."""
    done, unpatched = [0], add_shard.replace_shard

    def counted(*arguments: Any) -> None:
        if done[0] == shards:
            raise KeyboardInterrupt
        done[0] += 1
        unpatched(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(add_shard, "replace_shard", counted)
        assert build.main(add_args(out)) == 130


def test_each_tar_of_an_interrupted_addition_is_old_or_new_and_other_writers_are_refused(
    out: Path, added: Path, original: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    stopped_after(monkeypatch, out, 2)
    kinds = [path.read_bytes() == (added / path.relative_to(out)).read_bytes() for path in sorted(out.rglob("*.tar"))]
    assert 0 < sum(kinds) < len(kinds)
    old = [path.read_bytes() == (original / path.relative_to(out)).read_bytes() for path in sorted(out.rglob("*.tar"))]
    assert [not new for new in kinds] == old
    with pytest.raises(DatasetError, match="--add landmarks was interrupted; run it again"):
        Dataset.open(out)
    assert "--add landmarks was interrupted" in verify.verify(out).faults[0]
    for command in (
        build_args(videos, out, "--landmarks", "none"),
        build_args(videos, out, "--landmarks", "dlib"),
        add_args(out, "quality"),
    ):
        assert build.main(command) == 2
        assert "--add landmarks was interrupted; run it again" in capsys.readouterr().err
    untouched = {path: path.stat().st_ino for path in out.glob("t*/*") if read_entry(path.with_suffix(".parquet")).added}
    assert build.main([*add_args(out), "--json"]) == 0
    assert tree(out) == tree(added)
    assert all(path.stat().st_ino == inode for path, inode in untouched.items()), "finished shards are not rewritten"


def test_clips_can_be_removed_during_an_interrupted_addition(
    out: Path, added: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    key = sorted(rows(out))[0]
    stopped_after(monkeypatch, out, 2)
    assert remove.main([str(out), "--key", key]) == 0
    assert "--add landmarks was interrupted; run it again" in capsys.readouterr().out
    assert not Manifest.read(out).complete and not (out / INDEX).exists()
    assert build.main(add_args(out)) == 0
    assert verify.verify(out).faults == ()
    beside = Path(shutil.copytree(added, out.parent / "beside"))
    assert remove.main([str(beside), "--key", key]) == 0
    assert tree(beside) == tree(out)


@pytest.mark.parametrize("renamed", ["marker.next", "tar", "marker"])
def test_a_crash_between_the_renames_of_a_shard_is_recovered(
    out: Path, added: Path, monkeypatch: pytest.MonkeyPatch, renamed: str
) -> None:
    """The process ends just before this file is renamed."""
    unpatched = Path.replace
    name = {"marker.next": ".parquet.next", "tar": ".tar", "marker": ".parquet"}[renamed]

    def crash(self: Path, target: Path) -> Path:
        if target.parent.name == "train" and target.name.endswith(name):
            raise KeyboardInterrupt
        return unpatched(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        assert build.main(add_args(out)) == 130
    entry = Manifest.read(out).shards[0]
    assert next_marker_path(out, entry.split, entry.name).exists() == (renamed != "marker.next")
    assert build.main(add_args(out)) == 0
    assert tree(out) == tree(added) and verify.verify(out).faults == ()


def test_a_leftover_marker_is_a_stray_file(added: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(added, tmp_path / "data"))
    entry = Manifest.read(out).shards[0]
    next_marker_path(out, entry.split, entry.name).write_bytes(b"")
    assert ["stray" in fault for fault in verify.verify(out, fast=True).faults] == [True]


def test_a_damaged_shard_stops_the_addition_with_one_line(out: Path, added: Path, capsys: Any) -> None:
    row = next(iter(rows(out).values()))
    path = tar_path(out, row["split"], row["shard"])
    intact = path.read_bytes()
    damaged = bytearray(intact)
    damaged[row["members"][0]["offset"] + 50] ^= 1
    path.write_bytes(damaged)
    assert build.main(add_args(out)) == 2
    assert f"{row['key']}.000.jpg is damaged" in capsys.readouterr().err
    path.write_bytes(intact)
    assert build.main(add_args(out)) == 0
    assert tree(out) == tree(added)


@pytest.mark.slow
def test_an_addition_killed_at_random_times_resumes(out: Path, added: Path) -> None:
    dice = random.Random(1)
    command = [sys.executable, "-m", "dataset.build", *add_args(out)]
    landed = 0
    for _ in range(3):
        running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while running.poll() is None and not any(out.glob(".work/*")):
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 1))
        running.send_signal(signal.SIGKILL)
        landed += running.wait() == -signal.SIGKILL
        time.sleep(0.3)  # its workers end with it
    assert landed
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert tree(out) == tree(added) and verify.verify(out).faults == ()


def test_settling_an_intact_shard_changes_nothing(out: Path) -> None:
    before = tree(out)
    for entry in Manifest.read(out).shards:
        rewrite.settle(out, entry.split, entry.name)
    assert tree(out) == before
