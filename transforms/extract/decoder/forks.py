"""A single-threaded process that is forked on request, and watches over its children.

Whoever asks holds a socket. When the child ends, its exit status is sent over it; when it is closed, the child is killed.
"""

import os
import select
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from motionshards.transforms.extract.decoder.wire import STATUS


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    told: the other end of the socket of whoever asked
    run: what the child does; gives its exit status
    close: what this process does not need once the child is forked
    """

    told: socket.socket
    run: Callable[[], int]
    close: Callable[[], None]


class Over(Exception):
    """Nobody asks any more."""


def serve_forks(sources: Mapping[int, Callable[[], Request | None]]) -> None:
    """Fork children until a source raises Over; then all of them are killed.

    sources: what to call when a descriptor can be read; None if nothing usable was asked for
    """
    children = _Children()
    try:
        while True:
            waiting = select.poll()
            for descriptor in [*sources, *children.awaited()]:
                waiting.register(descriptor, select.POLLIN)
            # One at a time: what it closes may stand behind it, and its number may be another's by then.
            descriptor, _ = waiting.poll()[0]
            if descriptor not in sources:
                children.ended(descriptor)
            elif request := sources[descriptor]():
                children.start(request, sources)
    except Over:
        children.kill()


class _Children:
    """The children: their numbers and sockets by their process descriptors."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[int, socket.socket]] = {}

    def awaited(self) -> list[int]:
        """The descriptors on which something can happen: processes that end, sockets that are closed."""
        return [*self._running, *(told.fileno() for _, told in self._running.values() if told.fileno() >= 0)]

    def start(self, request: Request, inherited: Mapping[int, object]) -> None:
        """Fork a child, which closes what it inherits from this process."""
        try:
            child = os.fork()
        except OSError:  # no memory for a process: whoever asked sees its socket closed
            request.close()
            request.told.close()
            return
        if not child:
            for descriptor in [request.told.fileno(), *inherited, *self.awaited()]:
                os.close(descriptor)
            os._exit(request.run())
        request.close()
        self._running[os.pidfd_open(child)] = child, request.told

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

    def kill(self) -> None:
        """End all children."""
        for process in self._running:
            signal.pidfd_send_signal(process, signal.SIGKILL)
