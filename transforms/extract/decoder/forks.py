"""A single-threaded process that forks children on request and supervises them.

Each client has a socket. When its child ends, the exit status is sent over it; when the client closes it, the child is killed.
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
    """A request for a child.

    client: the other end of the client's socket
    run: executed in the child; returns its exit status
    close: closes what this process no longer needs once the child is forked
    """

    client: socket.socket
    run: Callable[[], int]
    close: Callable[[], None]


class NoMoreRequests(Exception):
    """No more requests will come."""


def serve_forks(sources: Mapping[int, Callable[[], Request | None]]) -> None:
    """Fork children until a source raises NoMoreRequests; then kill all of them.

    sources: descriptor -> function to call when it is readable, which returns None for an unusable request
    """
    children = _Children()
    try:
        while True:
            waiting = select.poll()
            for descriptor in [*sources, *children.awaited()]:
                waiting.register(descriptor, select.POLLIN)
            # One event at a time: handling it may close descriptors of later events, and their numbers may be reused.
            descriptor, _ = waiting.poll()[0]
            if descriptor not in sources:
                children.ended(descriptor)
            elif request := sources[descriptor]():
                children.start(request, sources)
    except NoMoreRequests:
        children.kill()


class _Children:
    """The running children: process descriptor -> process id and client socket."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[int, socket.socket]] = {}

    def awaited(self) -> list[int]:
        """The descriptors to poll: of processes, which may end, and of sockets, which may be closed."""
        return [*self._running, *(client.fileno() for _, client in self._running.values() if client.fileno() >= 0)]

    def start(self, request: Request, inherited: Mapping[int, object]) -> None:
        """Fork a child, which closes what it inherits from this process."""
        try:
            child = os.fork()
        except OSError:  # no memory for a process: the client sees its socket closed
            request.close()
            request.client.close()
            return
        if not child:
            for descriptor in [request.client.fileno(), *inherited, *self.awaited()]:
                os.close(descriptor)
            os._exit(request.run())
        request.close()
        self._running[os.pidfd_open(child)] = child, request.client

    def ended(self, descriptor: int) -> None:
        """Handle the end of a child, or kill the child of a client that has closed its socket."""
        if descriptor in self._running:
            child, client = self._running.pop(descriptor)
            os.close(descriptor)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with client, suppress(OSError):
                client.sendall(STATUS.pack(status))
            return
        for process, (_, client) in self._running.items():
            if client.fileno() == descriptor:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                client.close()

    def kill(self) -> None:
        """Kill all children."""
        for process in self._running:
            signal.pidfd_send_signal(process, signal.SIGKILL)
