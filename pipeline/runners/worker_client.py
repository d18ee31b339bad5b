"""The command that Beam starts as a worker: requests one from the worker server, waits, and exits with its status.

python -I -S worker_client.py SOCKET  (run as a file, since importing the package would take longer than everything else)
"""

import json
import os
import socket
import sys

NAME = "beam-worker"
"""Name of the worker process in `ps -e` and `top`."""
_VARIABLES = ("CONTROL_API_SERVICE_DESCRIPTOR", "LOGGING_API_SERVICE_DESCRIPTOR", "PIPELINE_OPTIONS", "WORKER_ID")


def main(path: str) -> int:
    """Run a worker; returns its exit status, or 128 plus the signal number that killed it, as in shells."""
    directory, _, name = path.rpartition("/")
    os.chdir(directory)  # the path of a socket must be shorter than 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(name)
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        server.sendall(json.dumps(environment).encode() + b"\n")
        answer = server.recv(4, socket.MSG_WAITALL)
    status = int.from_bytes(answer, "little", signed=True) if answer else 1  # no answer: the server has ended
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
