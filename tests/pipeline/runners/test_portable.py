"""The graph over Beam's portable API, with Beam's own job server, independent of this process."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT
from under_fire import hashes, wait_for

import motionshards.dataset.build

OPTIONS = ["--size", "64", "--clips-per-shard", "3", "--quiet"]


def build(videos: Path, out: Path, *options: object) -> int:
    command = ["--source", "voxceleb2", "--input", videos, "--output", out, *OPTIONS, *options]
    return motionshards.dataset.build.main([str(word) for word in command])


def started(*arguments: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", *map(str, arguments)]
    # A pool starts its workers as `python`.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("server") / "port"
    server = started("apache_beam.runners.portability.local_job_service_main", "--port", 0, "--port_file", file)
    wait_for(lambda: file.exists() and file.read_text(), 60)
    yield f"127.0.0.1:{file.read_text()}"
    server.kill()
    server.wait()


@pytest.fixture
def pool() -> Iterator[str]:
    """A worker pool, as deployed next to each Flink task manager."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = started("apache_beam.runners.worker.worker_pool_main", "--service_port", port)
    wait_for(lambda: listens(port), 60)
    yield f"127.0.0.1:{port}"
    workers.kill()
    workers.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_the_portable_api_writes_the_same_bytes(demo_videos: Path, endpoint: str, pool: str, tmp_path: Path) -> None:
    portable = ["--runner", "portable", "--job-endpoint", endpoint]
    assert build(demo_videos, tmp_path / "here", "--workers", 1) == 0
    assert build(demo_videos, tmp_path / "loopback", *portable, "--environment_type=LOOPBACK") == 0
    external = ["--environment_type=EXTERNAL", f"--environment_config={pool}"]
    assert build(demo_videos, tmp_path / "external", *portable, *external) == 0
    assert hashes(tmp_path / "loopback") == hashes(tmp_path / "external") == hashes(tmp_path / "here")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--runner", "portable"), "--job-endpoint and --runner portable must be used together"),
        (("--job-endpoint", "127.0.0.1:1"), "--job-endpoint and --runner portable must be used together"),
        (("--runner", "portable", "--job-endpoint", "127.0.0.1:1"), "127.0.0.1:1: no job server can be reached"),
        (("--runner", "portable", "--job-endpoint", "flink"), "flink: no job server can be reached"),
    ],
    ids=["no endpoint", "no runner", "nobody listens", "no port"],
)
def test_unusable_options_are_reported_in_one_line(
    demo_videos: Path, tmp_path: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(demo_videos, tmp_path / "out", *options) == 2
    stderr = capsys.readouterr().err
    assert message in stderr and stderr.count("\n") == 1, stderr
