"""A local web server of files that follows a script of failures like those of real servers."""

import re
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Step:
    """Deviations of one response from a correct one.

    status: used instead of 200 or 206, with an empty body
    body: sent instead of the file
    cut: number of bytes of the body that are sent before `end`: "close", "reset" or "stall" (the connection stays open)
    length: Content-Length instead of the true one; None omits the header
    whole: ignore the requested range
    shift, more: number of bytes by which the range begins or ends later than requested
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    end: str = "close"
    length: int | str | None = "true"
    whole: bool = False
    shift: int = 0
    more: int = 0


@dataclass
class Request:
    """One received request."""

    target: str
    range: str | None
    headers: Message
    port: int


@dataclass
class FileServer:
    """files: path -> content. script: replies to the next requests in order; afterwards correct replies, or `always`."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    script: list[Step] = field(default_factory=list)
    always: Step = Step()
    requests: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, request: Request) -> Step:
        """Record a request and choose its reply."""
        with self.lock:
            self.requests.append(request)
            return self.script.pop(0) if self.script else self.always

    def ranges(self) -> list[str | None]:
        """The Range header of each request."""
        return [request.range for request in self.requests]


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            request = Request(self.path, self.headers.get("Range"), self.headers, self.client_address[1])
            step = server.next(request)
            file = server.files.get(unquote(urlsplit(self.path).path))
            if step.status is not None or (file is None and step.body is None):
                self.answer(step.status or 404, step.headers, b"", step)
                return
            content = file if step.body is None else step.body
            assert content is not None
            found = None if step.whole else re.fullmatch(r"bytes=(\d+)-(\d*)", request.range or "")
            if found is None:
                self.answer(200, step.headers, content, step)
                return
            start, stop = (
                int(found[1]) + step.shift,
                min(int(found[2] or len(content)) + 1 + step.shift + step.more, len(content)),
            )
            if start >= len(content):
                self.answer(416, {"Content-Range": f"bytes */{len(content)}", **step.headers}, b"", step)
                return
            headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}", **step.headers}
            self.answer(206, headers, content[start:stop], step)

        def answer(self, status: int, headers: dict[str, str], body: bytes, step: Step) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if step.length is None:
                self.send_header("Connection", "close")
            else:
                self.send_header("Content-Length", str(len(body) if step.length == "true" else step.length))
            self.end_headers()
            try:
                self.wfile.write(body[: step.cut])
            except OSError:  # the client closed the connection early
                self.close_connection = True
            if step.cut is not None:
                self.fail(step.end)

        def fail(self, how: str) -> None:
            self.close_connection = True
            if how == "stall":
                server.over.wait(20)
            elif how == "reset":  # a reset would discard bytes in flight
                server.over.wait(0.05)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

        def log_message(self, *_: object) -> None:
            pass

        def finish(self) -> None:
            try:
                super().finish()
            except (OSError, ValueError):  # the connection was reset deliberately
                self.close_connection = True

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that break a connection, as tests expect them."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Iterator[FileServer]:
    """A server without files, to which tests add some."""
    served = FileServer()
    http = _Server(("127.0.0.1", 0), _handler(served))
    served.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        served.over.set()
        http.shutdown()
        http.server_close()
        thread.join()
