"""`dataset.build --estimate`: estimates match a build, and no files are left behind, however it ends."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from checkout import ROOT
from in_process import in_this_process
from s3_here import s3_here

from motionshards.dataset import build
from motionshards.pipeline.planning.plan import units
from motionshards.schemas.errors import BuildFailed
from motionshards.schemas.layout import marker_path
from motionshards.schemas.manifest import Manifest

pytestmark = pytest.mark.usefixtures("quick")

FAST = ["--size", "64", "--frames", "3", "--landmarks", "none", "--workers", "1"]


COPIES = 5


@pytest.fixture(scope="module")
def videos(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 clips: those of the demo under five names each; every fifth is truncated and is rejected."""
    root = tmp_path_factory.mktemp("videos")
    for half in ("dev", "test"):
        for identity in (demo_videos / half / "mp4").iterdir():
            for copy in range(COPIES):
                shutil.copytree(identity, root / half / "mp4" / f"id{copy}-{identity.name[2:]}")
    for path in sorted(root.rglob("*.mp4"))[::5]:
        path.write_bytes(path.read_bytes()[:3000])
    return root


@pytest.fixture(scope="module")
def built(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of all these clips, with seed 1."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with in_this_process():
        assert build.main(arguments(videos, out, "--seed", "1")) == 0
    return out


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The output directory."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def arguments(videos: Path, out: Path | str, *more: str) -> list[str]:
    return ["--source", "voxceleb2", "--input", str(videos), "--output", str(out), "--quiet", *FAST, *more]


def estimated(capsys: pytest.CaptureFixture[str], *build_args: str) -> dict[str, Any]:
    capsys.readouterr()
    assert build.main([*build_args, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def traces(out: Path) -> dict[str, tuple[int, str]]:
    """Time and content of every file below a directory."""
    return {str(path.relative_to(out)): (path.stat().st_mtime_ns, _digest(path)) for path in sorted(out.rglob("*"))}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def within(interval: dict[str, float], truth: float) -> bool:
    return interval["low"] <= truth <= interval["high"]


def test_a_trial_with_two_workers_predicts_yield_and_disk_space(
    videos: Path, built: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With this seed, the 90% intervals contain the true values."""
    build_args = [*arguments(videos, place / "out", "--seed", "1"), "--workers", "2"]
    found = estimated(capsys, *build_args, "--estimate", "24")
    assert os.listdir(place) == []
    assert (found["clips"], found["sample"], found["time"]["workers"]) == (40, 24, 2)
    assert 0 < found["time"]["clip_s"]["value"] <= found["time"]["sample_s"] / 24 * 1.1
    once_s = found["time"]["planning_s"] + (found["time"]["start_s"] or 0)
    assert found["time"]["hours"]["value"] * 3600 == pytest.approx(once_s + 40 * found["time"]["clip_s"]["value"])
    assert 0 < found["time"]["core_hours"] * 3600 < 40 * 5
    assert found["time"]["gpu_hours"] is None
    counts = Manifest.read(built).counts
    assert counts["rejected"] == {"corrupt": 8}
    assert within(found["yield"]["clips"], counts["kept"])
    assert within(found["yield"]["rejected"]["corrupt"]["clips"], 8)
    assert within(found["disk"]["shards"], counts["bytes"])
    small = sum(path.stat().st_size for path in built.rglob("*.parquet"))
    assert found["disk"]["tables"] == pytest.approx(small, rel=0.25)


def test_a_sample_of_all_clips_is_exact(videos: Path, built: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Manifest.read(built)
    found = estimated(capsys, *arguments(videos, place / "out", "--estimate", "1000", "--seed", "1"))
    assert found["sample"] == found["clips"] == 40
    assert list(found["yield"]["clips"].values()) == [pytest.approx(32)] * 3
    assert found["yield"]["rejected"]["corrupt"]["seen"] == 8
    assert found["yield"]["unseen_share"] == 0
    assert within(found["disk"]["shards"], manifest.counts["bytes"]), "the padding of a tar to 10 KB is not predicted"
    assert found["disk"]["shards"]["high"] - found["disk"]["shards"]["low"] == pytest.approx(2 * 4608 * len(manifest.shards))


def test_only_remaining_clips_count_and_the_output_is_unchanged(
    videos: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "out"
    assert build.main(arguments(videos, out, "--limit", "24", "--clips-per-shard", "6")) == 0
    before, build_args = traces(out), arguments(videos, out, "--clips-per-shard", "6", "--estimate", "5")
    assert estimated(capsys, *build_args)["clips"] == 16
    assert estimated(capsys, *build_args, "--limit", "24")["clips"] == 0
    assert estimated(capsys, *build_args, "--limit", "30")["clips"] == 6
    assert (traces(out), os.listdir(place)) == (before, ["out"])
    unit = units(out)[0]
    marker_path(out, unit.split, unit.name).unlink()
    assert estimated(capsys, *build_args, "--limit", "24")["clips"] == len(unit), "planned, but not built"
    assert build.main([*build_args, "--limit", "24"]) == 0
    assert capsys.readouterr().out.startswith(f"{len(unit)} clips to build; ")


@pytest.mark.slow
def test_a_trial_by_workers_of_dask(videos: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = estimated(capsys, *arguments(videos, place / "out", "--runner", "dask", "--estimate", "12"))
    assert (found["clips"], found["sample"], found["time"]["workers"]) == (40, 12, 1)
    assert 0 < found["time"]["clip_s"]["value"] <= found["time"]["sample_s"]
    assert os.listdir(place) == []


def test_an_estimate_of_a_finished_build_reports_it(videos: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_args = arguments(videos, place / "out", "--limit", "4")
    assert build.main(build_args) == 0
    capsys.readouterr()
    assert build.main([*build_args, "--estimate", "3"]) == 0
    assert capsys.readouterr().out == f"nothing left to build in {place / 'out'}\n"


def test_temporary_files_are_elsewhere_if_the_parent_of_the_output_is_missing(
    videos: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert estimated(capsys, *arguments(videos, place / "not" / "there", "--estimate", "2"))["sample"] == 2
    assert os.listdir(place) == os.listdir(tmp_path / "temporary") == []


@pytest.mark.parametrize(
    ("ending", "status", "message"),
    [
        (BuildFailed("a disk is full"), 1, "error: a disk is full. The output was not changed"),
        (OSError(28, "No space left on device", "/x"), 1, "error: No space left on device: /x. The output was not changed"),
        (KeyboardInterrupt(), 130, "interrupted. The output was not changed"),
    ],
)
def test_a_trial_that_stops_leaves_nothing_behind(
    videos: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ending: BaseException,
    status: int,
    message: str,
) -> None:
    def stop(*_: object) -> None:
        assert len(os.listdir(place)) == 1, "it is running"
        raise ending

    monkeypatch.setattr("motionshards.pipeline.runners.choose.run", stop)
    assert build.main(arguments(videos, place / "out", "--estimate", "4")) == status
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", f"{message}\n")
    assert os.listdir(place) == []


@pytest.mark.parametrize("with_", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupt_stops_workers_and_removes_their_files(videos: Path, place: Path, with_: signal.Signals) -> None:
    scratch = place.parent / "scratch"
    scratch.mkdir()
    command = [
        sys.executable,
        "-m",
        "dataset.build",
        *arguments(videos, place / "out", "--estimate", "40", "--landmarks", "dlib"),
    ]
    driver = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TMPDIR": str(scratch)}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    limit = time.monotonic() + 60
    while not list(place.glob(".motionshards-estimate-*/part/.work/*.tar.*")):
        assert driver.poll() is None and time.monotonic() < limit
        time.sleep(0.05)
    below = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(with_)
    output = driver.communicate(timeout=60)
    assert (driver.returncode, output) == (130, ("", "interrupted. The output was not changed\n"))
    assert os.listdir(place) == os.listdir(scratch) == []
    assert psutil.wait_procs(below, timeout=10)[1] == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--estimate", "0"], '"0" for --estimate. Must be > 0'),
        (["--estimate", "-3"], '"-3" for --estimate. Must be > 0'),
        (["--estimate", "some"], '"some" into int'),
        (["--estimate"], "--estimate requires an argument"),
        (["--estimate", "5", "--retry", "corrupt"], "--estimate and --retry cannot be combined"),
        (["--estimate", "5", "--add", "landmarks"], "cannot be used here: an addition keeps"),
        (["--estimate=5", "--extend-frames", "9"], "cannot be used here: an addition keeps"),
        (
            ["--estimate", "5", "--output", "/no/such/place", "--runner", "dask", "--dask-scheduler", "a:1"],
            "cannot write to /no/such",
        ),
        (["--estimate", "5", "--input", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--estimate", "5", "--output", "s3://somewhere/else", "--source", "voxceleb2"], "s3://somewhere"),
    ],
)
def test_options_that_cannot_be_combined_are_reported_in_one_line(
    videos: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: list[str], message: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("motionshards.schemas.bucket._ATTEMPTS", 1)
    status = build.main(arguments(videos, place / "out", *more))
    output = capsys.readouterr()
    assert (status in (1, 2) if "s3:" in message else status == 2, output.out, output.err.count("\n")) == (True, "", 1)
    assert message in output.err
    assert os.listdir(place) == []


def test_clips_already_in_an_object_store_are_not_counted_and_it_is_unchanged(
    videos: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_here() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        build_args = arguments(videos, "s3://data/set")
        assert estimated(capsys, *build_args, "--estimate", "3")["clips"] == 40
        assert store.names() == {}
        assert build.main([*build_args, "--limit", "8"]) == 0
        before = store.names()
        assert estimated(capsys, *build_args, "--estimate", "3")["clips"] == 32
        assert store.names() == before
    assert os.listdir(place) == []


def test_an_output_that_a_build_would_refuse_is_refused(videos: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "thesis.txt").touch()
    assert build.main(arguments(videos, place, "--estimate", "2")) == 2
    assert "is not empty and holds no dataset (found 'thesis.txt')" in capsys.readouterr().err
    assert build.main(arguments(videos, place / "out", "--limit", "2")) == 0
    assert build.main(arguments(videos, place / "out", "--size", "128", "--estimate", "2")) == 2
    assert f"{place / 'out'} already holds a dataset built with different settings (size: 64 -> 128)" in capsys.readouterr().err
    assert sorted(os.listdir(place)) == ["out", "thesis.txt"]
