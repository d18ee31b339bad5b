"""A proxy for an object store that simulates failures, and adds conditional uploads to gs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qs, quote, urlsplit


@dataclass
class Failures:
    """Failures that the proxy applies to the next requests.

    busy: number of requests to put a tar that are answered with 503 SlowDown
    cut: number of requests to put a tar whose connection is closed after half of the body
    lost: number of requests to create an object that are executed, after which the connection is closed without a response
    """

    busy: int = 0
    cut: int = 0
    lost: int = 0
    met: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def next(self, request: BaseHTTPRequestHandler) -> str:
        if _creates(request):
            return self._one_of("lost")
        return self._one_of("busy", "cut") if request.command == "PUT" and ".tar" in request.path else ""

    def _one_of(self, *names: str) -> str:
        with self._lock:
            for name in names:
                if getattr(self, name):
                    setattr(self, name, getattr(self, name) - 1)
                    self.met.append(name)
                    return name
        return ""


def _creates(request: BaseHTTPRequestHandler) -> bool:
    """Whether an object may be created only if absent: S3 and Azure use a header, gs a query parameter."""
    return "If-None-Match" in request.headers or "ifGenerationMatch=0" in request.path


@contextmanager
def proxy(endpoint: str) -> Iterator[tuple[str, Failures]]:
    """The URL of a proxy for a store, and its failures."""
    failures = Failures()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(endpoint.removeprefix("http://"), failures))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", failures
    finally:
        server.shutdown()
        server.server_close()


def _handler(target: str, failures: Failures) -> type[BaseHTTPRequestHandler]:
    creating = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            what, size = failures.next(self), int(self.headers.get("Content-Length", 0))
            if what == "cut":
                self.rfile.read(size // 2)
                return self._hang_up()
            if self.headers.get("Expect") == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(size)
            if what == "busy":
                slow = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
                return self._answer(503, {}, slow)
            with creating if _creates(self) else nullcontext():
                if "ifGenerationMatch=0" in self.path and _exists(target, self.path, body):
                    return self._answer(412, {}, b"")
                headers = {name: value for name, value in self.headers.items() if name != "Expect"}
                status, answered, content = _ask(target, self.command, self.path, body, headers)
            if what == "lost":
                return self._hang_up()
            return self._answer(status, answered, content)

        def _hang_up(self) -> None:
            self.connection.close()
            self.close_connection = True

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            own = {"transfer-encoding", "connection"} | (set() if self.command == "HEAD" else {"content-length"})
            for name, value in headers.items():
                if name.lower() not in own:
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815 - the names that are called

        def log_message(self, *_: object) -> None:
            """Do not log requests."""

    return Handler


def _ask(
    target: str, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection(target)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def _exists(target: str, path: str, body: bytes) -> bool:
    """Whether the object of an upload to gs exists; gcp-storage-emulator ignores the condition."""
    parts = urlsplit(path)
    query = parse_qs(parts.query)
    name = query["name"][0] if "name" in query else json.loads(body.split(b"\n\n", 2)[1].partition(b"\n")[0])["name"]
    return _ask(target, "GET", f"{parts.path.removeprefix('/upload')}/{quote(name, safe='')}")[0] == 200
