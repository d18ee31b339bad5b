"""Removal of clips that were split into several tubes."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from in_process import in_this_process

from motionshards.dataset import build, remove, verify
from motionshards.dataset.index import Dataset
from motionshards.schemas.layout import REJECTIONS, planned_key
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.removal import is_placeholder

pytestmark = pytest.mark.usefixtures("quick")

TUBES = ["--recipe", "track", "--tube-min-px", "64", "--tube-min-frames", "10", "--tube-max-frames", "40", "--detect-every", "10"]


def build_args(videos: Path, out: Path) -> list[str]:
    fast = ["--limit", "2", "--frames", "2", "--size", "64", "--landmarks", "dlib", "--workers", "1", "--quiet"]
    return ["--source", "voxceleb2", "--input", str(videos), "--output", str(out), *fast, *TUBES]


@pytest.fixture(scope="module")
def original(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tubes") / "data"
    with in_this_process():
        assert build.main(build_args(demo_videos, out)) == 0
    return out


@pytest.fixture
def out(original: Path, tmp_path: Path) -> Path:
    """Two planned clips of two tubes each; the test may change them."""
    return Path(shutil.copytree(original, tmp_path / "data"))


def keys(out: Path) -> list[str]:
    found: list[str] = Dataset.open(out).index()["key"].to_pylist()
    return found


def test_the_key_of_a_planned_clip_removes_all_its_tubes(out: Path, demo_videos: Path) -> None:
    before = keys(out)
    clip = planned_key(before[0])
    tubes = [key for key in before if planned_key(key) == clip]
    assert len(tubes) > 1 and len(before) > len(tubes)
    assert remove.main([str(out), "--key", clip]) == 0
    assert keys(out) == [key for key in before if key not in tubes]
    rows = pq.read_table(out / REJECTIONS).to_pylist()
    assert [is_placeholder(row["key"]) for row in rows] == [True], "one placeholder for all tubes"
    (removal,) = Manifest.read(out).removals
    assert (removal.clips, removal.samples) == (1, len(tubes))
    assert verify.verify(out).faults == ()
    assert build.main(build_args(demo_videos, out)) == 0 and keys(out) == [key for key in before if key not in tubes]


def test_the_key_of_a_tube_removes_only_that_tube(out: Path, demo_videos: Path, capsys: Any) -> None:
    before = keys(out)
    assert remove.main([str(out), "--key", before[0]]) == 0
    assert keys(out) == before[1:]
    assert "removed 1 sample from 1 shard; 2 planned = 3 kept + 0 rejected + 1 removed; checked: ok" in capsys.readouterr().out
    (row,) = pq.read_table(out / REJECTIONS).to_pylist()
    assert (row["key"], row["reason"], row["spans"][0]["uri"]) == (before[0], "removed", "")
    assert build.main(build_args(demo_videos, out)) == 0 and keys(out) == before[1:]
    # Removing the clip also removes the rejection that the tube left.
    assert remove.main([str(out), "--key", planned_key(before[0])]) == 0
    assert verify.verify(out).faults == ()
    assert [row["key"] for row in pq.read_table(out / REJECTIONS).to_pylist() if not is_placeholder(row["key"])] == []


def test_an_unknown_tube_is_reported(out: Path, capsys: Any) -> None:
    assert remove.main([str(out), "--key", f"{planned_key(keys(out)[0])}@000777"]) == 1
    assert "@000777" in capsys.readouterr().err


def test_an_interrupted_removal_of_a_tube_is_finished(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(out)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("motionshards.pipeline.remove.remove_from_shard", stopped)
        assert remove.main([str(out), "--key", before[0]]) == 130
    assert remove.main([str(out)]) == 0
    assert keys(out) == before[1:]
    assert verify.verify(out).faults == ()
