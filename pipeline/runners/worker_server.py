"""Workers of the local run, forked from one process that has imported Beam and loaded the face model.

Importing Beam takes a second of CPU time and loading dlib's model another, so each worker would begin with two; forked
workers begin at once, and share the model's memory. What Beam starts as a worker is `worker_client`, which asks here.
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
from motionshards.transforms.extract.decoder.forks import Over, Request, serve_forks
from motionshards.transforms.extract.landmarks import models

_SOCKET = "workers"
_REQUEST_S = 10.0


def start_worker_server(job: BuildJob, directory: Path) -> str:
    """Fork the server from this process, which must have one thread; gives the command that Beam is to start workers with.

    directory: a directory of this user alone, for the socket
    """
    with _inside(directory):  # the path of a socket must have less than 108 bytes
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(_SOCKET)
    listener.listen(128)
    alive, ours = os.pipe()
    if not os.fork():
        os.close(ours)
        try:
            _serve(job, listener, alive)
        finally:
            os._exit(1)
    listener.close()
    os.close(alive)
    os.set_inheritable(ours, False)  # it closes with this process, and that ends the server
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
    """Fork workers until the process that started this one ends."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # stdin is read by the process that started this one
    if job.config.landmarks not in models.ON_TORCH:  # CUDA and torch's threads do not survive a fork
        models.load(job.config.landmarks, job.model_options)
    gc.collect()
    gc.freeze()

    def over() -> None:
        raise Over

    serve_forks({listener.fileno(): lambda: _requested(listener), alive: over})


def _requested(listener: socket.socket) -> Request | None:
    told, _ = listener.accept()
    told.settimeout(_REQUEST_S)
    environment = json.loads(told.makefile("rb").readline())
    told.settimeout(None)
    return Request(told, lambda: _work(environment), lambda: None)


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
