"""Builds on a real Dask cluster of separate processes, as a user would start it, including killed workers."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from checkout import ROOT
from dask.distributed import Client
from s3_here import s3_here
from under_fire import hashes, kill_whoever_holds, wait_for

import motionshards.dataset.build
from motionshards.pipeline.runners import dask_check

OPTIONS = ["--size", "64", "--clips-per-shard", "3"]


def command(videos: Path, out: Path | str, *options: object) -> list[str]:
    build = ["--source", "voxceleb2", "--input", videos, "--output", out, *OPTIONS, "--runner", "dask", "--json", *options]
    return [str(word) for word in build]


def started(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=ROOT
    )


def kill_all(program: subprocess.Popen[str]) -> None:
    for process in [*psutil.Process(program.pid).children(recursive=True), psutil.Process(program.pid)]:
        process.kill()
    program.communicate()


@contextmanager
def cluster(place: Path, workers: int) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """Start a cluster; yields its scheduler file and the process that runs its single-threaded workers."""
    file = place / "scheduler.json"
    where = ["--scheduler-file", str(file)]
    scheduler_program = started("distributed.cli.dask_scheduler", *where, "--port", "0", "--no-dashboard", "--host", "127.0.0.1")
    wait_for(file.exists, 60)
    one = [
        "--nthreads",
        "1",
        "--nworkers",
        str(workers),
        "--no-dashboard",
        "--local-directory",
        str(place),
        "--memory-limit",
        "0",
    ]
    workers_program = started("distributed.cli.dask_worker", *where, *one)
    try:
        yield file, workers_program
    finally:
        for program in (workers_program, scheduler_program):
            if program.poll() is None:
                kill_all(program)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Scheduler file of a cluster with two single-threaded workers."""
    with cluster(tmp_path_factory.mktemp("cluster"), 2) as (file, _):
        yield file


@pytest.fixture(scope="module")
def undisturbed(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """sha256 of every shard and marker of a local build."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert motionshards.dataset.build.main([*command(demo_videos, out), "--runner", "local", "--workers", "1"]) == 0
    return hashes(out)


def test_a_cluster_writes_the_same_bytes_as_this_machine(
    demo_videos: Path, undisturbed: dict[str, str], scheduler: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert motionshards.dataset.build.main(command(demo_videos, out, "--dask-scheduler", scheduler, "--quiet")) == 0
    assert hashes(out) == undisturbed
    assert not (out / ".work").exists()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["kept"] == 8


def test_a_clip_that_kills_its_process_is_rejected_on_the_second_attempt_and_nothing_else_is_lost(
    demo_videos: Path, undisturbed: dict[str, str], scheduler: Path, tmp_path: Path
) -> None:
    """The killer simulates a clip that crashes the decoder library. The driver does not restart the job."""
    out = tmp_path / "out"
    poison = sorted((demo_videos / "dev" / "mp4").glob("*/*/*.mp4"))[1]
    key = poison.relative_to(demo_videos / "dev" / "mp4").with_suffix("").as_posix()
    driver = started("dataset.build", *command(demo_videos, out, "--dask-scheduler", scheduler))
    deaths: list[str] = []
    journals = ("journal-*", out / ".work")
    killer = threading.Thread(target=kill_whoever_holds, args=(key, lambda: driver.poll() is not None, journals, deaths))
    killer.start()
    stdout, stderr = driver.communicate()
    killer.join()
    assert driver.returncode == 0, stderr
    assert deaths == ["worker", "alone"]
    ledger = json.loads(stdout.splitlines()[-1])
    assert (ledger["planned"], ledger["kept"], ledger["rejected"]) == (8, 7, {"killed_worker": 1})
    (lost,) = pq.read_table(out / "rejections.parquet").to_pylist()
    assert lost["key"] == key
    same = {name for name, sha in hashes(out).items() if undisturbed[name] == sha}
    assert same == {name for name in undisturbed if not name.startswith(f"train/{lost['shard']}.")}


@pytest.mark.slow
def test_without_a_scheduler_local_processes_are_used(demo_videos: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    """One of them is killed at a random moment."""
    driver = started("dataset.build", *command(demo_videos, tmp_path / "out", "--workers", "2"))
    wait_for(lambda: list((tmp_path / "out" / ".work").glob("journal-*/*.*")), 90)
    pid = int(next(iter((tmp_path / "out" / ".work").glob("journal-*/*.*"))).suffix[1:])
    os.kill(pid, signal.SIGKILL)
    _, stderr = driver.communicate(timeout=200)
    assert driver.returncode == 0 and "WARNING" not in stderr, stderr
    assert hashes(tmp_path / "out") == undisturbed


@pytest.mark.slow
def test_ctrl_c_cancels_the_run_and_a_rerun_resumes(
    demo_videos: Path, undisturbed: dict[str, str], scheduler: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = started("dataset.build", *command(demo_videos, out, "--dask-scheduler", scheduler))
    wait_for(lambda: list((out / ".work").glob("journal-*/*.*")), 90)
    driver.send_signal(signal.SIGINT)
    _, stderr = driver.communicate(timeout=20)
    assert driver.returncode == 130, stderr
    assert "run the same command again to resume" in stderr and "Traceback" not in stderr
    before = hashes(out)
    assert set(before) < set(undisturbed), "the interrupt came too late to test anything"
    assert motionshards.dataset.build.main(command(demo_videos, out, "--dask-scheduler", scheduler, "--quiet")) == 0
    assert hashes(out) == undisturbed


def test_worker_with_several_threads_is_refused(
    demo_videos: Path, scheduler: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Models are not thread-safe, so a worker that joins with three threads is an error."""
    many = started(
        "distributed.cli.dask_worker", "--scheduler-file", str(scheduler), "--nthreads", "3", "--no-nanny", "--no-dashboard"
    )
    try:
        with Client(scheduler_file=str(scheduler)) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(3, timeout=60)
        assert (
            motionshards.dataset.build.main(command(demo_videos, tmp_path / "out", "--dask-scheduler", scheduler, "--quiet")) == 2
        )
    finally:
        many.kill()
        many.communicate()
    stderr = capsys.readouterr().err
    assert "has 3 threads, must have one: start it with dask worker --nthreads 1" in stderr and stderr.count("\n") == 1


def test_build_fails_with_a_message_if_workers_do_not_respond_or_all_die(
    demo_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dask itself would silently wait forever."""
    monkeypatch.setattr("motionshards.pipeline.runners.dask._WORKERS_CHECK_EVERY_S", 0.5)
    out = tmp_path / "out"
    with cluster(tmp_path, 1) as (file, workers_program):
        arguments = command(demo_videos, out, "--dask-scheduler", file, "--quiet", "--workers-timeout", 2)
        with Client(scheduler_file=str(file)) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(1, timeout=60)
            (pid,) = client.run(os.getpid).values()
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(dask_check, "RESPONSE_TIMEOUT_S", 2)
        assert motionshards.dataset.build.main(arguments) == 2
        stderr = capsys.readouterr().err
        assert "has not responded within 2 s; it may be stopped" in stderr and stderr.count("\n") == 1
        os.kill(pid, signal.SIGCONT)
        monkeypatch.setattr(dask_check, "RESPONSE_TIMEOUT_S", 60)

        def kill_workers() -> None:
            wait_for(lambda: list((out / ".work").glob("journal-*/*.*")), 90)
            kill_all(workers_program)

        killer = threading.Thread(target=kill_workers)
        killer.start()
        assert motionshards.dataset.build.main(arguments) == 1
        killer.join()
        stderr = capsys.readouterr().err
        assert motionshards.dataset.build.main(arguments) == 2
        assert "within 2 s (--workers-timeout)" in capsys.readouterr().err
    assert (
        "the scheduler at tcp://127.0.0.1:" in stderr
        and "has had no workers for 2 s (--workers-timeout)" in stderr
        and "run the same command again to resume" in stderr
        and stderr.count("\n") == 1
    )


def test_a_cluster_builds_into_a_bucket_although_a_worker_is_killed(
    demo_videos: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a shared disk: the journals of driver and workers are in the temporary directory of this machine."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with s3_here() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        with cluster(tmp_path, 2) as (file, _):
            driver = started("dataset.build", *command(demo_videos, "s3://data/faces", "--dask-scheduler", file))
            wait_for(lambda: list(tmp_path.glob("motionshards-run-*/journal-*/*.*")), 90)
            os.kill(int(next(tmp_path.glob("motionshards-run-*/journal-*/*.*")).suffix[1:]), signal.SIGKILL)
            stdout, stderr = driver.communicate(timeout=200)
        assert driver.returncode == 0, stderr
        assert json.loads(stdout.splitlines()[-1])["kept"] == 8
        names = [name.removeprefix("faces/") for name in store.names()]
        built = {name: hashlib.sha256(store.read(f"faces/{name}")).hexdigest() for name in names if name.startswith("t")}
        assert built == undisturbed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dask-scheduler", "nowhere.json"), "--dask-scheduler nowhere.json is neither a file nor an address"),
        (("--runner", "local", "--dask-scheduler", "tcp://127.0.0.1:1"), "requires --runner dask, but --runner is local"),
        (("--no-such-option",), "Unknown option: --no-such-option"),
        (("--", "--no-such-option"), "unknown option --no_such_option (not an option of Apache Beam)"),
    ],
    ids=["no file", "local", "option", "Beam's option"],
)
def test_unusable_options_are_reported_in_one_line(
    demo_videos: Path, tmp_path: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = motionshards.dataset.build.main(command(demo_videos, tmp_path / "out", "--quiet", *options))
    stderr = capsys.readouterr().err
    assert status == 2
    assert message in stderr and stderr.count("\n") == 1, stderr
