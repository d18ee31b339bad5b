"""The worker client lives as long as its forked worker, exits with its status, and takes it down when killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from checkout import ROOT

from motionshards.pipeline.runners import worker_client

SERVER = """
import json, os, socket, sys, time
from pathlib import Path
from motionshards.pipeline.runners import worker_server

def work(environment):
    Path(environment["PIPELINE_OPTIONS"]).write_text(str(os.getpid()))
    time.sleep(float(environment["CONTROL_API_SERVICE_DESCRIPTOR"]))
    number = int(environment["WORKER_ID"])
    if number < 0:
        os.kill(os.getpid(), -number)
    return number

worker_server._work = work

class Job:
    class config:
        landmarks = "none"
    model_options = None

print(worker_server.start_worker_server(Job, Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The command for Beam, with a directory whose path is too long for a socket."""
    directory = tmp_path_factory.mktemp("x" * 120)
    program = [sys.executable, "-c", SERVER, directory]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None and process.stdout is not None
        yield process.stdout.readline().strip()
        (server,) = psutil.Process(process.pid).children()
        process.stdin.close()
        process.wait()
        assert not psutil.wait_procs([server], timeout=10)[1], "the server ends with the process that started it"


def start(command: str, code: int, pid_file: Path, after_s: float = 0) -> subprocess.Popen[bytes]:
    variables = {"WORKER_ID": str(code), "PIPELINE_OPTIONS": str(pid_file), "CONTROL_API_SERVICE_DESCRIPTOR": str(after_s)}
    return subprocess.Popen(command, shell=True, env={**os.environ, **variables})


@pytest.mark.parametrize(("code", "status"), [(0, 0), (7, 7), (-signal.SIGKILL, 137), (-signal.SIGSEGV, 139)])
def test_the_client_exits_with_the_status_of_the_worker(command: str, tmp_path: Path, code: int, status: int) -> None:
    assert start(command, code, tmp_path / "pid").wait(30) == status


def test_many_workers_are_forked_from_one_process(command: str, tmp_path: Path) -> None:
    clients = [start(command, number, tmp_path / str(number), 0.5) for number in range(5)]
    assert [client.wait(30) for client in clients] == list(range(5))
    assert len({(tmp_path / str(number)).read_text() for number in range(5)}) == 5


def test_a_worker_ends_with_its_client(command: str, tmp_path: Path) -> None:
    client = start(command, 0, tmp_path / "pid", 60)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert client.poll() is None
    worker = psutil.Process(int((tmp_path / "pid").read_text()))
    client.kill()
    client.wait()
    assert not psutil.wait_procs([worker], timeout=10)[1]


def test_without_a_server_the_client_fails(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-I", "-S", worker_client.__file__, f"{tmp_path}/workers"], stderr=subprocess.PIPE)
    assert done.returncode == 1
