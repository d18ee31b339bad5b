"""What Beam starts as a worker: it asks the worker server for one, lives as long as that, and ends as it did.

python -I -S worker_client.py SOCKET  (run as a file: importing the package would take longer than all it does)
"""

import json
import os
import socket
import sys

NAME = "beam-worker"
"""The name of the process that works, as `ps -e` and `top` show it."""
_VARIABLES = ("CONTROL_API_SERVICE_DESCRIPTOR", "LOGGING_API_SERVICE_DESCRIPTOR", "PIPELINE_OPTIONS", "WORKER_ID")


def main(path: str) -> int:
    """The exit status of the worker; 128 and the signal where one ended it, as shells have it."""
    directory, _, name = path.rpartition("/")
    os.chdir(directory)  # the path of a socket must have less than 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(name)
        asked = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        server.sendall(json.dumps(asked).encode() + b"\n")
        told = server.recv(4, socket.MSG_WAITALL)
    status = int.from_bytes(told, "little", signed=True) if told else 1  # the server has ended
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
