"""A store that speaks S3 on this machine, and a proxy before it that fails as stores do."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.request import urlopen

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class Store:
    """environment: with which boto3 finds the store; its bucket is called `data`"""

    environment: dict[str, str]
    client: Any

    def names(self) -> dict[str, int]:
        """Sizes of all objects."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="data")
        return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", ())}

    def read(self, name: str) -> bytes:
        content: bytes = self.client.get_object(Bucket="data", Key=name)["Body"].read()
        return content

    def put(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket="data", Key=name, Body=content)


@contextmanager
def s3_here() -> Iterator[Store]:
    """A store of its own."""
    server = importlib.import_module("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = importlib.import_module("boto3").client(
        "s3", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
    )
    with urlopen(f"{url}/moto-api/reset", b""):  # all servers of a process share what they hold
        pass
    client.create_bucket(Bucket="data")
    try:
        yield Store({**KEYS, "AWS_ENDPOINT_URL": url}, client)
    finally:
        server.stop()


@dataclass
class Failures:
    """What the proxy does to the next requests that put a tar.

    busy: so many are answered with 503 SlowDown
    cut: so many connections are closed when half of the body has come
    """

    busy: int = 0
    cut: int = 0
    met: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def next(self, method: str, path: str) -> str:
        with self._lock:
            if method != "PUT" or ".tar" not in path:
                return ""
            for name in ("busy", "cut"):
                if getattr(self, name):
                    setattr(self, name, getattr(self, name) - 1)
                    self.met.append(name)
                    return name
        return ""


@contextmanager
def failing(store: Store) -> Iterator[tuple[dict[str, str], Failures]]:
    """The environment of a proxy before the store, and what it is to do."""
    failures = Failures()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(store.environment["AWS_ENDPOINT_URL"], failures))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {**store.environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}, failures
    finally:
        server.shutdown()
        server.server_close()


def _handler(url: str, failures: Failures) -> type[BaseHTTPRequestHandler]:
    target = url.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            what, size = failures.next(self.command, self.path), int(self.headers.get("Content-Length", 0))
            if what == "cut":
                self.rfile.read(size // 2)
                self.connection.close()
                self.close_connection = True
                return
            if self.headers.get("Expect") == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(size)
            if what == "busy":
                self._answer(503, {}, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
                return
            connection = HTTPConnection(target)
            headers = {name: value for name, value in self.headers.items() if name != "Expect"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), answer.read())
            connection.close()

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
            """Say nothing."""

    return Handler
