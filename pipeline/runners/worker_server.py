"""Fork the workers of a local run from one process that has imported Beam and loaded the face model.

Importing Beam takes a second of CPU time, and loading dlib's model another. Forked workers start immediately and share the
model's memory. The command that Beam starts as a worker is `worker_client`, which connects to this server.
"""

import gc
import json
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apache_beam.runners.worker import sdk_worker_main

from motionshards.pipeline.runners import worker_client
from motionshards.pipeline.shards.build import BuildJob
from motionshards.transforms.extract.decoder.client import start_server
from motionshards.transforms.extract.decoder.forks import NoMoreRequests, Request, serve_forks
from motionshards.transforms.extract.landmarks import models

_SOCKET = "workers"
_REQUEST_S = 10.0


def start_worker_server(job: BuildJob, directory: Path) -> str:
    """Fork the server from this process, which must be single-threaded; returns the command for Beam to start workers.

    directory: a directory for the socket, accessible to this user only
    """
    with _inside(directory):  # the path of a socket must be shorter than 108 bytes
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(_SOCKET)
    listener.listen(128)
    alive, writer = os.pipe()
    if not os.fork():
        os.close(writer)
        try:
            _serve(job, listener, alive)
        finally:
            os._exit(1)
    listener.close()
    os.close(alive)
    os.set_inheritable(writer, False)  # it is closed when this process ends, which ends the server
    return f"exec '{sys.executable}' -I -S '{worker_client.__file__}' '{directory / _SOCKET}'"


@contextmanager
def _inside(directory: Path) -> Iterator[None]:
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(directory)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _serve(job: BuildJob, listener: socket.socket, alive: int) -> None:
    """Fork workers until the parent process ends."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # stdin belongs to the parent process
    if job.config.landmarks not in models.ON_TORCH:  # CUDA and torch's threads do not survive a fork
        models.load(job.config.landmarks, job.model_options)
    gc.collect()
    gc.freeze()

    def over() -> None:
        raise NoMoreRequests

    serve_forks({listener.fileno(): lambda: _requested(listener), alive: over})


def _requested(listener: socket.socket) -> Request | None:
    client, _ = listener.accept()
    client.settimeout(_REQUEST_S)
    environment = json.loads(client.makefile("rb").readline())
    client.settimeout(None)
    return Request(client, lambda: _work(environment), lambda: None)


def _work(environment: dict[str, str]) -> int:
    try:
        Path("/proc/self/comm").write_text(worker_client.NAME)
        os.environ.update(environment)
        start_server()
        sdk_worker_main.main(sys.argv)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
