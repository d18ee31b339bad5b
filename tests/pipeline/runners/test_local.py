"""Fault tolerance of the local runner, with real processes: killed workers, a clip that kills, an interrupted driver."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from checkout import ROOT
from under_fire import copies_of, hashes, kill_whoever_holds, wait_for

from motionshards.pipeline.runners import local
from motionshards.pipeline.runners.worker_client import NAME
from motionshards.schemas.manifest import Manifest

OPTIONS = ["--size", "96", "--clips-per-shard", "6"]
POISON = "id3-*"


@pytest.fixture(scope="module")
def videos(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 clips."""
    return copies_of(demo_videos, tmp_path_factory.mktemp("many"), 6)


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """sha256 of every shard and marker of an undisturbed build with one worker."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert start(videos, out, "--workers", "1").wait() == 0
    return hashes(out)


def start(videos: Path, out: Path, *options: str, scratch: Path | None = None) -> subprocess.Popen[str]:
    """Start a build as a user would."""
    command = [sys.executable, "-m", "dataset.build", "--source", "voxceleb2", "--input", videos, "--output", out, *OPTIONS]
    environment = {**os.environ, "TMPDIR": str(scratch or out.parent)}
    return subprocess.Popen(
        [*command, "--json", *options], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def workers_of(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """The Beam workers of a driver."""
    found = []
    try:
        for process in psutil.Process(driver.pid).children(recursive=True):
            # Between fork and exec, an ffmpeg child looks like its parent worker.
            is_worker = process.name() == NAME
            if is_worker and process.ppid() not in {worker.pid for worker in found}:
                found.append(process)
    except psutil.NoSuchProcess:
        return []
    return found


@pytest.mark.slow
def test_two_workers_write_the_same_bytes_as_one(videos: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    assert start(videos, tmp_path / "out", "--workers", "2").wait() == 0
    assert hashes(tmp_path / "out") == undisturbed
    assert os.listdir(tmp_path) == ["out"], "temporary files are left behind"
    assert not (tmp_path / "out" / ".work").exists()


@pytest.mark.slow  # test_faults kills a few
@pytest.mark.parametrize("kills", [1, 10])
def test_killed_workers_do_not_change_the_bytes(videos: Path, undisturbed: dict[str, str], tmp_path: Path, kills: int) -> None:
    """Kill workers at random moments until `kills` have succeeded, over as many builds as necessary."""
    rng = random.Random(kills)
    killed, builds = 0, 0
    while killed < kills:
        out = tmp_path / str(builds) / "out"
        out.parent.mkdir()
        driver = start(videos, out, "--workers", "2")
        while driver.poll() is None and killed < kills:
            wait_for(lambda d=driver: workers_of(d) or d.poll() is not None, 60)
            time.sleep(rng.uniform(0, 6))
            if alive := workers_of(driver):
                rng.choice(alive).kill()
                killed += 1
                time.sleep(0.5)
        assert driver.wait() == 0, driver.stderr.read()
        assert hashes(out) == undisturbed
        builds += 1


@pytest.mark.slow
def test_a_clip_that_kills_its_process_twice_is_rejected_and_nothing_else_is_lost(
    videos: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """The killer simulates a clip that crashes the decoder library: every process that decodes it dies."""
    poison = sorted(p for p in (videos / "dev" / "mp4").glob(f"{POISON}/*/*.mp4"))[0]
    key = poison.relative_to(videos / "dev" / "mp4").with_suffix("").as_posix()
    driver = start(videos, tmp_path / "out", "--workers", "2", scratch=tmp_path)
    deaths: list[str] = []
    journals = ("motionshards-*", tmp_path)
    killer = threading.Thread(target=kill_whoever_holds, args=(key, lambda: driver.poll() is not None, journals, deaths))
    killer.start()
    assert driver.wait() == 0, driver.stderr.read()
    killer.join()
    assert deaths == ["worker", "alone"]
    ledger = json.loads(driver.stdout.read().splitlines()[-1])
    assert (ledger["planned"], ledger["kept"], ledger["rejected"]) == (48, 47, {"killed_worker": 1})
    lost = pq.read_table(tmp_path / "out" / "rejections.parquet").to_pylist()[0]
    assert (lost["key"], lost["stage"], lost["retryable"]) == (key, "worker", True)
    touched = f"train/{lost['shard']}."
    same = {name for name, sha in hashes(tmp_path / "out").items() if undisturbed[name] == sha}
    assert same == {name for name in undisturbed if not name.startswith(touched)}


@pytest.mark.slow
def test_ctrl_c_stops_within_five_seconds_and_a_rerun_resumes(videos: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = start(videos, out, "--workers", "2")
    wait_for(lambda: list(out.glob("t*/voxceleb2-*.parquet")), 90)
    descendants = psutil.Process(driver.pid).children(recursive=True)
    sent = time.monotonic()
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=5) == 130
    assert time.monotonic() - sent < 5
    _, alive = psutil.wait_procs(descendants, timeout=2)
    assert not alive
    assert "run the same command again to resume" in driver.stderr.read()
    assert not list(out.rglob("*.tmp"))
    assert set(hashes(out)) < set(undisturbed), "the interrupt came too late to test anything"
    assert start(videos, out, "--workers", "2").wait() == 0
    assert hashes(out) == undisturbed
    runs = Manifest.read(out).runs
    assert [run.workers for run in runs] == [2, 2] and sum(run.clips for run in runs) == 48


@pytest.mark.slow
def test_no_process_survives_a_killed_driver_and_a_rerun_resumes(
    videos: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = start(videos, out, "--workers", "2")
    wait_for(lambda: list(out.glob("t*/voxceleb2-*.parquet")), 90)
    descendants = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    _, alive = psutil.wait_procs(descendants, timeout=5)
    assert not alive
    assert start(videos, out, "--workers", "1").wait() == 0
    assert hashes(out) == undisturbed
    assert not list(out.rglob("*.tmp"))


def test_a_second_driver_on_the_same_output_is_refused(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start(videos, out, "--workers", "1")
    wait_for((out / "plan").exists, 60)
    second = start(videos, out)
    assert second.wait() == 2
    assert "is writing to" in second.stderr.read()
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=5) == 130


def test_workers_share_the_cores_unless_the_user_sets_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, torch would start one thread per core in each worker."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [local._environment(workers, Path())["OMP_NUM_THREADS"] for workers in (1, 3, 8, 100)] == ["8", "2", "1", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert local._environment(8, Path())["OMP_NUM_THREADS"] == "5"
