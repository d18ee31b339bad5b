"""The process that decoders are forked from: it has loaded FFmpeg's libraries, has one thread, and reads no file itself.

    python -m motionshards.transforms.extract.decoder.server  (stdin is a Unix socket)

For each clip it is handed three descriptors: the socket over which the clip's decoder takes orders, that over which the server
reports how the decoder ended, and the video. It forks a child for them, so that each clip starts from a clean heap. When the
other end of the second socket is closed, the child is killed.
"""

import gc
import os
import select
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress

from motionshards.transforms.extract.decoder.child import serve
from motionshards.transforms.extract.decoder.warm_up import warm_up
from motionshards.transforms.extract.decoder.wire import STATUS


def main() -> None:
    """Fork decoders until stdin is closed; then all of them are ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; who started this one ends it
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # children inherit it, and would keep the socket open
    os.close(nothing)
    warm_up()
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, all that it shares with the server
    decoders = _Decoders(control)
    while True:
        waiting = select.poll()
        for descriptor in decoders.awaited():
            waiting.register(descriptor, select.POLLIN)
        # One at a time: what it closes may stand behind it, and its number may be another's by then.
        descriptor, _ = waiting.poll()[0]
        if descriptor != control.fileno():
            decoders.ended(descriptor)
        elif not decoders.start():
            return


class _Decoders:
    """The children: their numbers and status sockets by their process descriptors."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._running: dict[int, tuple[int, socket.socket]] = {}

    def awaited(self) -> list[int]:
        """The descriptors on which something can happen: the control socket, processes that end, sockets that are closed."""
        told = [told.fileno() for _, told in self._running.values() if told.fileno() >= 0]
        return [self._control.fileno(), *self._running, *told]

    def start(self) -> bool:
        """Take what was asked for; False where nobody asks any more."""
        asked, descriptors, _, _ = socket.recv_fds(self._control, 1, 3)
        if not asked:
            for process in self._running:
                signal.pidfd_send_signal(process, signal.SIGKILL)
            return False
        try:
            orders, told, video = descriptors
            child = os.fork()
        except (OSError, ValueError):  # no memory for a process or no free descriptors: the client sees its socket closed
            _close(descriptors)
            return True
        if not child:
            _close([told, *self.awaited()])
            os._exit(serve(orders, video))
        _close([orders, video])
        self._running[os.pidfd_open(child)] = child, socket.socket(fileno=told)
        return True

    def ended(self, descriptor: int) -> None:
        """A child has ended, or whoever asked for it wants it no more."""
        if descriptor in self._running:
            child, told = self._running.pop(descriptor)
            os.close(descriptor)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with told, suppress(OSError):
                told.sendall(STATUS.pack(status))
            return
        for process, (_, told) in self._running.items():
            if told.fileno() == descriptor:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                told.close()


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


if __name__ == "__main__":
    main()
