"""The process that decoders are forked from: it has loaded FFmpeg's libraries, has one thread, and reads no file itself.

    python -m motionshards.transforms.extract.decoder.server  (stdin is a Unix socket)

For each clip it receives three descriptors: the socket over which the clip's decoder receives orders, the one over which the
server reports how the decoder ended, and the video. It forks a child for them, so that each clip starts with a clean heap.
"""

import gc
import os
import signal
import socket

from motionshards.transforms.extract.decoder.child import serve
from motionshards.transforms.extract.decoder.forks import NoMoreRequests, Request, serve_forks
from motionshards.transforms.extract.decoder.warm_up import warm_up


def main() -> None:
    """Fork decoders until stdin is closed; then kill all of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group, but our parent closes stdin
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # children inherit it, and would keep the socket open
    os.close(nothing)
    warm_up()
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, all memory shared with the server
    serve_forks({control.fileno(): lambda: _requested(control)})


def _requested(control: socket.socket) -> Request | None:
    request, descriptors, _, _ = socket.recv_fds(control, 1, 3)
    if not request:
        raise NoMoreRequests
    if len(descriptors) < 3:  # no free descriptors: the client sees its sockets closed
        for descriptor in descriptors:
            os.close(descriptor)
        return None
    orders, client, video = descriptors

    def close() -> None:
        os.close(orders)
        os.close(video)

    return Request(socket.socket(fileno=client), lambda: serve(orders, video), close)


if __name__ == "__main__":
    main()
